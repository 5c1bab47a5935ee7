//! Ends the program when a test hangs.
use super::cases::lock;
use std::collections::HashMap;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

static RUNNING: Mutex<Option<HashMap<String, Instant>>> = Mutex::new(None);
static START: Once = Once::new();

/// While it lives, a test is under way.
pub struct Guard(String);

/// Watches over a test until the guard is dropped: after `limit`, the program ends with its name.
pub fn watch(name: &str, limit: Duration) -> Guard {
    START.call_once(|| {
        std::thread::spawn(check_for_ever);
    });
    let end = Instant::now() + limit;
    lock(&RUNNING)
        .get_or_insert_default()
        .insert(name.into(), end);
    Guard(name.into())
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&RUNNING).get_or_insert_default().remove(&self.0);
    }
}

fn check_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = Instant::now();
        let running = lock(&RUNNING);
        let late = running
            .iter()
            .flatten()
            .find(|(_, end)| **end < now)
            .map(|(name, _)| name);
        if let Some(name) = late {
            eprintln!("`{name}` hangs; ending all tests");
            std::process::exit(101);
        }
    }
}

//! Which seeds a random test draws from.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::ops::Range;

/// The name in the environment.
const NAME: &str = "TENSMITH_SEEDS";

/// The seeds that `TENSMITH_SEEDS=FIRST..END` in the environment names, else the usual ones.
pub fn seeds(usual: Range<u64>) -> Range<u64> {
    match std::env::var(NAME) {
        Ok(text) => parse(&text).unwrap_or_else(|| panic!("{NAME}={text}: expected FIRST..END")),
        Err(_) => usual,
    }
}

fn parse(text: &str) -> Option<Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.parse().ok()?..end.parse().ok()?)
}

//! Downloaded models and their cases.
use std::any::Any;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tensmith::Tensor;

/// The folder of downloaded models and test data.
pub fn models_folder() -> PathBuf {
    match std::env::var_os("TENSMITH_MODELS") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models"),
    }
}

/// Whether two lists of tensors have the same bits.
pub fn same_bits(a: &[Tensor], b: &[Tensor]) -> bool {
    let same = |(x, y): (&Tensor, &Tensor)| {
        x.dtype() == y.dtype() && x.shape() == y.shape() && x.bytes() == y.bytes()
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// The message of a panic.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_string()));
    text.unwrap_or_else(|| "no message".into())
}

/// The value behind a lock, whether or not a test panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

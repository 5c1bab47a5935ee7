//! The `tensmith` command.
fn main() {}

//! Text on the standard output.
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints text. A reader that has seen enough, such as `head`, ends the process quietly.
macro_rules! out {
    ($($text:tt)*) => {
        crate::cli::out::write(format_args!($($text)*))
    };
}
/// Prints a line, as [`out!`] prints text.
macro_rules! outln {
    () => {
        crate::cli::out::write(format_args!("\n"))
    };
    ($($text:tt)*) => {
        crate::cli::out::write(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(super) use {out, outln};

/// What the macros do.
pub(super) fn write(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            eprintln!("tensmith: cannot write to the standard output: {e}");
            std::process::exit(6);
        }
    }
}

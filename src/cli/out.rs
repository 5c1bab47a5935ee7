//! Text on the standard output and for people beside it: control characters and marks of direction,
//! which names from files may have, are escaped, so that a terminal obeys no file.
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use tensmith::text::plain;

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
/// Prints a line on the standard error.
macro_rules! errln {
    () => {
        eprintln!()
    };
    ($($text:tt)*) => {
        eprintln!("{}", tensmith::text::plain(&format!($($text)*)))
    };
}
pub(super) use {errln, out, outln};

/// What the macros do.
pub(super) fn write(text: Arguments<'_>) {
    let text = text.to_string();
    written(&mut |out| out.write_all(plain(&text).as_bytes()));
}

/// Prints bytes, as [`out!`] prints text.
pub(super) fn out_bytes(bytes: &[u8]) {
    written(&mut |out| out.write_all(bytes));
}

fn written(put: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>) {
    let mut out = std::io::stdout().lock();
    match put(&mut out).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            eprintln!("tensmith: cannot write to the standard output: {e}");
            std::process::exit(6);
        }
    }
}

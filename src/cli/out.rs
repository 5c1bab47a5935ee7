//! Text on the standard output and for people beside it: control characters and marks of direction,
//! which names from files may have, are escaped, so that a terminal obeys no file.
use std::borrow::Cow;
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
/// Prints a line on the standard error.
macro_rules! errln {
    () => {
        eprintln!()
    };
    ($($text:tt)*) => {
        eprintln!("{}", crate::cli::out::plain(&format!($($text)*)))
    };
}
pub(super) use {errln, out, outln};

/// Text without control characters other than ends of lines and tabulators, and without marks that
/// turn what follows around (Unicode Standard Annex 9, explicit formatting) or end a line. They are
/// written as JSON escapes them in strings.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let is_mark = |c| {
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
        marks.contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let is_obeyed = |c: char| (c.is_control() && c != '\n' && c != '\t') || is_mark(c);
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let one = |c: char| match is_obeyed(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.into(),
    };
    text.chars().map(one).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_obey_no_name() {
        assert_eq!(
            plain("a\x1b[2J\u{9b}31m\r\n\tb"),
            "a\\u001b[2J\\u009b31m\\u000d\n\tb"
        );
        assert_eq!(plain("Größe\n"), "Größe\n");
        assert_eq!(plain("a\u{202e}b\u{2069}"), "a\\u202eb\\u2069");
        let json = serde_json::json!("del \x7f").to_string();
        let read: String = serde_json::from_str(&plain(&json)).unwrap();
        assert_eq!(read, "del \x7f");
    }
}

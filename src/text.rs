//! Text from files as it is shown to people, wherever that is: on terminals, in pages and pictures.
use std::borrow::Cow;

/// Text without control characters other than ends of lines and tabulators, without marks that turn
/// what follows around (Unicode Standard Annex 9, explicit formatting) or end a line, and without
/// what is no character. They are written as JSON escapes them in strings.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let one = |c: char| match is_obeyed(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.into(),
    };
    text.chars().map(one).collect()
}

/// Whether whoever shows text does something else with a character than to show it.
fn is_obeyed(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_obeys_a_name() {
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

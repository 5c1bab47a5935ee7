//! Numbers and strings.
use super::{Lexer, TextError, Token};

impl Lexer<'_> {
    /// Takes an integer, with an optional sign.
    ///
    /// Errors: something else is ahead, or it does not fit.
    pub fn int(&mut self) -> Result<i64, TextError> {
        let negative = self.accept("-");
        let Ok(Token::Int(n)) = self.ahead else {
            return Err(self.unexpected("an integer"));
        };
        let value = if negative {
            -i128::from(n)
        } else {
            i128::from(n)
        };
        let value = i64::try_from(value).map_err(|_| self.unexpected("an integer of 64 bits"))?;
        self.take()?;
        Ok(value)
    }

    /// Takes a number as [`show_float`] writes it.
    ///
    /// Errors: something else is ahead.
    pub fn float(&mut self) -> Result<f64, TextError> {
        let sign = if self.accept("-") { -1.0 } else { 1.0 };
        let value = match self.ahead {
            Ok(Token::Float(text)) => text.parse().ok(),
            Ok(Token::Int(n)) => Some(n as f64),
            Ok(Token::Word("inf")) => Some(f64::INFINITY),
            Ok(Token::Word("nan")) => Some(f64::NAN),
            _ => None,
        };
        let value: f64 = value.ok_or_else(|| self.unexpected("a number"))?;
        self.take()?;
        Ok(sign * value)
    }

    /// Takes a string as [`show_string`] writes it.
    ///
    /// Errors: something else is ahead, or an unknown escape.
    pub fn string(&mut self) -> Result<String, TextError> {
        let Ok(Token::Str(raw)) = self.ahead else {
            return Err(self.unexpected("a string"));
        };
        let text = unescape(raw).ok_or_else(|| self.error("an unknown escape in a string"))?;
        self.take()?;
        Ok(text)
    }
}

/// A float that reads back as the same: the shortest decimal, `inf`, `-inf` or `nan`.
pub fn show_float(x: f64) -> String {
    match x {
        _ if x.is_nan() => "nan".into(),
        _ if x.is_infinite() => if x < 0.0 { "-inf" } else { "inf" }.into(),
        _ => format!("{x:?}"),
    }
}

/// A string in quotes that reads back as the same.
pub fn show_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn unescape(raw: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = raw.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next()? {
                'n' => '\n',
                'u' => unicode(&mut rest)?,
                c @ ('"' | '\\') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

/// What follows `\u`: a code point in braces.
fn unicode(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let body = rest.as_str().strip_prefix('{')?;
    let (digits, after) = body.split_once('}')?;
    *rest = after.chars();
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// The string that a text begins with.
pub(super) fn scan_string(rest: &str) -> (Result<Token<'_>, String>, usize) {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => break,
            '"' => return (Ok(Token::Str(&rest[1..at])), at + 1),
            _ => {}
        }
    }
    (Err("a string without an end".into()), 0)
}

/// The number that a text begins with.
pub(super) fn scan(rest: &str) -> (Result<Token<'_>, String>, usize) {
    let digits = |from: usize, fine: fn(&u8) -> bool| {
        from + rest.as_bytes()[from..]
            .iter()
            .take_while(|b| fine(b))
            .count()
    };
    let int = |text: &str, radix, end| match u64::from_str_radix(text, radix) {
        Ok(n) => (Ok(Token::Int(n)), end),
        Err(_) => (Err(format!("`{text}` is no number of 64 bits")), 0),
    };
    if rest.starts_with("0x") {
        let end = digits(2, u8::is_ascii_hexdigit);
        return int(&rest[2..end], 16, end);
    }
    let whole = digits(0, u8::is_ascii_digit);
    let mut end = whole;
    let byte = |at: usize| rest.as_bytes().get(at).copied().unwrap_or(0);
    if byte(end) == b'.' && byte(end + 1).is_ascii_digit() {
        end = digits(end + 1, u8::is_ascii_digit);
    }
    if byte(end) == b'e' {
        let sign = usize::from(matches!(byte(end + 1), b'-' | b'+'));
        if byte(end + 1 + sign).is_ascii_digit() {
            end = digits(end + 1 + sign, u8::is_ascii_digit);
        }
    }
    if end == whole {
        return int(&rest[..end], 10, end);
    }
    (Ok(Token::Float(&rest[..end])), end)
}

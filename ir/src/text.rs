//! The lexer that all text forms share, and the text form of expressions and numbers.
//!
//! Tokens: words (`kernel`, `a0`), sizes (`$batch`), names (`%conv.1`), unsigned integers (`12`,
//! `0x1f`), floats (`1.5`, `1e-7`), strings (`"..."`) and punctuation. `//` starts a comment.
//! A parser asks for what it expects and gets an error with line and column otherwise.
//!
//! ```
//! use tensmith_ir::text::{Lexer, parse_expr};
//!
//! let mut lexer = Lexer::new("extent 2*$batch + 1");
//! lexer.expect_word("extent")?;
//! assert_eq!(parse_expr(&mut lexer)?.to_string(), "2*$batch + 1");
//! lexer.expect_end()?;
//! # Ok::<(), tensmith_ir::text::TextError>(())
//! ```
mod expr;
mod number;
#[cfg(test)]
mod tests;

pub use expr::parse_expr;
pub(crate) use expr::parse_var;
pub use number::{show_float, show_string};

use crate::dtype::DType;
use crate::expr::Symbol;

/// A place in a text and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct TextError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Expected and found.
    pub reason: String,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'t> {
    /// A letter or `_`, then letters, digits and `_`.
    Word(&'t str),
    /// `$` and letters, digits or `_`; here without the `$`.
    Size(&'t str),
    /// `%` and letters, digits, `_` or `.`; here without the `%`.
    Name(&'t str),
    /// Decimal or, after `0x`, hexadecimal digits.
    Int(u64),
    /// Digits with a `.` or an exponent, as written.
    Float(&'t str),
    /// What stands between the quotes, escapes included.
    Str(&'t str),
    /// One of the fixed marks.
    Punct(&'static str),
    /// The end of the text.
    End,
}

/// All marks; longer ones before their beginnings.
const PUNCT: &[&str] = &[
    "..=", "->", "=>", "==", "!=", "<=", ">=", "<<", ">>", "..", "(", ")", "[", "]", "{", "}", "<",
    ">", ",", ":", ";", "=", "+", "-", "*", "/", "&", "|", "^", "!", "?", "@", "#", "~", ".", "%",
];

/// How deep text may nest.
const MAX_DEPTH: usize = 128;

/// Cuts a text into tokens, one ahead. Cloning saves a place to come back to.
#[derive(Clone)]
pub struct Lexer<'t> {
    text: &'t str,
    /// Where the token ahead begins, in bytes.
    start: usize,
    /// Where it ends.
    end: usize,
    ahead: Result<Token<'t>, String>,
    depth: usize,
}

impl<'t> Lexer<'t> {
    /// A lexer at the first token.
    pub fn new(text: &'t str) -> Self {
        let mut lexer = Lexer {
            text,
            start: 0,
            end: 0,
            ahead: Ok(Token::End),
            depth: 0,
        };
        lexer.advance();
        lexer
    }

    /// The token ahead.
    ///
    /// Errors: characters that are no token.
    pub fn peek(&self) -> Result<Token<'t>, TextError> {
        self.ahead.clone().map_err(|reason| self.error(reason))
    }

    /// Takes the token ahead; at the end, stays there.
    ///
    /// Errors: as [`Lexer::peek`].
    pub fn take(&mut self) -> Result<Token<'t>, TextError> {
        let token = self.peek()?;
        self.advance();
        Ok(token)
    }

    /// An error at the token ahead.
    pub fn error(&self, reason: impl Into<String>) -> TextError {
        let before = &self.text[..self.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        TextError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason: reason.into(),
        }
    }

    /// An error that says what is expected instead of the token ahead.
    pub fn unexpected(&self, expected: &str) -> TextError {
        match &self.ahead {
            Ok(Token::End) => self.error(format!("expected {expected}, found the end")),
            Ok(_) => {
                let found: String = self.text[self.start..self.end].chars().take(40).collect();
                self.error(format!("expected {expected}, found `{found}`"))
            }
            Err(reason) => self.error(reason.clone()),
        }
    }

    /// Whether the token ahead is this mark.
    pub fn at(&self, punct: &str) -> bool {
        matches!(&self.ahead, Ok(Token::Punct(p)) if *p == punct)
    }

    /// Whether the token ahead is this word.
    pub fn at_word(&self, word: &str) -> bool {
        matches!(&self.ahead, Ok(Token::Word(w)) if *w == word)
    }

    /// Takes the token ahead if it is this mark.
    pub fn accept(&mut self, punct: &str) -> bool {
        let found = self.at(punct);
        if found {
            self.advance();
        }
        found
    }

    /// Takes the token ahead if it is this word.
    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    /// Takes this mark.
    ///
    /// Errors: something else is ahead.
    pub fn expect(&mut self, punct: &str) -> Result<(), TextError> {
        if self.accept(punct) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{punct}`")))
    }

    /// Takes this word.
    ///
    /// Errors: something else is ahead.
    pub fn expect_word(&mut self, word: &str) -> Result<(), TextError> {
        if self.accept_word(word) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{word}`")))
    }

    /// Checks that the text is at its end.
    ///
    /// Errors: something is ahead.
    pub fn expect_end(&self) -> Result<(), TextError> {
        match self.ahead {
            Ok(Token::End) => Ok(()),
            _ => Err(self.unexpected("the end")),
        }
    }

    /// Takes a word.
    ///
    /// Errors: something else is ahead.
    pub fn word(&mut self) -> Result<&'t str, TextError> {
        match self.ahead {
            Ok(Token::Word(word)) => {
                self.advance();
                Ok(word)
            }
            _ => Err(self.unexpected("a word")),
        }
    }

    /// Takes a size symbol.
    ///
    /// Errors: something else is ahead.
    pub fn size(&mut self) -> Result<Symbol, TextError> {
        match self.ahead {
            Ok(Token::Size(name)) if name.len() <= 64 => {
                self.advance();
                Ok(Symbol::new(name))
            }
            _ => Err(self.unexpected("a size such as `$batch`")),
        }
    }

    /// Takes a name, and gives it without the `%`.
    ///
    /// Errors: something else is ahead.
    pub fn name(&mut self) -> Result<&'t str, TextError> {
        match self.ahead {
            Ok(Token::Name(name)) => {
                self.advance();
                Ok(name)
            }
            _ => Err(self.unexpected("a name such as `%x`")),
        }
    }

    /// Takes an element type.
    ///
    /// Errors: something else is ahead.
    pub fn dtype(&mut self) -> Result<DType, TextError> {
        let found = match self.ahead {
            Ok(Token::Word(word)) => word.parse().ok(),
            _ => None,
        };
        let found = found.ok_or_else(|| self.unexpected("an element type such as `f32`"))?;
        self.advance();
        Ok(found)
    }

    /// Takes items between `open` and `close`, with commas between them.
    ///
    /// Errors: a missing mark, or what `item` reports.
    pub fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, TextError>,
    ) -> Result<Vec<T>, TextError> {
        self.expect(open)?;
        let mut items = Vec::new();
        if self.accept(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.accept(close) {
                return Ok(items);
            }
            if !self.accept(",") {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
    }

    /// Runs `inner` one level deeper: every parser that calls itself does so through this.
    ///
    /// Errors: the text nests too deep, or what `inner` reports.
    pub fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, TextError>,
    ) -> Result<T, TextError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn advance(&mut self) {
        let mut rest = &self.text[self.end..];
        loop {
            rest = rest.trim_start();
            match rest.strip_prefix("//") {
                Some(comment) => rest = comment.trim_start_matches(|c| c != '\n'),
                None => break,
            }
        }
        self.start = self.text.len() - rest.len();
        let (token, length) = scan(rest);
        self.ahead = token;
        self.end = self.start + length;
    }
}

/// The first token of a text without leading space, and its length in bytes. Characters that are
/// no token have length 0, so that a lexer stays in front of them.
fn scan(rest: &str) -> (Result<Token<'_>, String>, usize) {
    let Some(first) = rest.chars().next() else {
        return (Ok(Token::End), 0);
    };
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let run = |from: usize, fine: &dyn Fn(char) -> bool| {
        let tail = &rest[from..];
        from + tail.find(|c| !fine(c)).unwrap_or(tail.len())
    };
    if first.is_ascii_alphabetic() || first == '_' {
        let end = run(0, &in_word);
        return (Ok(Token::Word(&rest[..end])), end);
    }
    if first.is_ascii_digit() {
        return number::scan(rest);
    }
    if first == '"' {
        return number::scan_string(rest);
    }
    let marked = match first {
        '$' => run(1, &in_word),
        '%' => run(1, &|c| in_word(c) || c == '.'),
        _ => 0,
    };
    match first {
        '$' if marked > 1 => return (Ok(Token::Size(&rest[1..marked])), marked),
        '%' if marked > 1 => return (Ok(Token::Name(&rest[1..marked])), marked),
        _ => {}
    }
    match PUNCT.iter().find(|p| rest.starts_with(**p)) {
        Some(p) => (Ok(Token::Punct(p)), p.len()),
        None => (Err(format!("`{}` is no token", first.escape_default())), 0),
    }
}

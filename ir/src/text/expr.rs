//! The text form of index expressions.
use super::{Lexer, TextError, Token};
use crate::expr::{Expr, Var};

/// The most summands that an expression in a text may have.
const MAX_TERMS: usize = 4096;

/// Takes an expression in the form that its `Display` gives: sums of products of integers, sizes
/// (`$n`), variables (`i0`), `div(a, b)`, `mod(a, b)`, `min(a, b)`, `max(a, b)`, and expressions
/// in parentheses.
///
/// Errors: something else is ahead, or an expression that is too large.
pub fn parse_expr(lexer: &mut Lexer<'_>) -> Result<Expr, TextError> {
    lexer.nested(sum)
}

fn sum(lexer: &mut Lexer<'_>) -> Result<Expr, TextError> {
    let negative = lexer.accept("-");
    let mut total = product(lexer, negative)?;
    loop {
        let negative = match lexer.peek()? {
            Token::Punct("+") => false,
            Token::Punct("-") => true,
            _ => return Ok(total),
        };
        lexer.take()?;
        total = total + product(lexer, negative)?;
        if total.terms().len() > MAX_TERMS {
            return Err(lexer.error(format!("an expression of more than {MAX_TERMS} terms")));
        }
    }
}

fn product(lexer: &mut Lexer<'_>, negative: bool) -> Result<Expr, TextError> {
    let sign = if negative { -1 } else { 1 };
    let mut total = match lexer.peek()? {
        Token::Int(n) => {
            let value = i128::from(n) * i128::from(sign);
            let value = i64::try_from(value);
            let value = value.map_err(|_| lexer.unexpected("an integer of 64 bits"))?;
            lexer.take()?;
            Expr::from(value)
        }
        _ => factor(lexer)? * sign,
    };
    while lexer.accept("*") {
        let next = factor(lexer)?;
        let terms = (total.terms().len() + 1).saturating_mul(next.terms().len() + 1);
        let degree = |e: &Expr| e.terms().iter().map(|(a, _)| a.len()).max().unwrap_or(0);
        if terms > MAX_TERMS || degree(&total) + degree(&next) > 64 {
            return Err(lexer.error("a product that is too large"));
        }
        total = total * next;
    }
    Ok(total)
}

fn factor(lexer: &mut Lexer<'_>) -> Result<Expr, TextError> {
    match lexer.peek()? {
        Token::Int(n) => {
            let n = i64::try_from(n).map_err(|_| lexer.unexpected("an integer of 64 bits"))?;
            lexer.take()?;
            Ok(n.into())
        }
        Token::Size(_) => Ok(Expr::size(lexer.size()?)),
        Token::Punct("(") => {
            lexer.take()?;
            let inner = parse_expr(lexer)?;
            lexer.expect(")")?;
            Ok(inner)
        }
        Token::Word(word) => {
            if let Some(var) = parse_var(word) {
                lexer.take()?;
                return Ok(var.into());
            }
            call(lexer, word)
        }
        _ => Err(lexer.unexpected("an index expression")),
    }
}

fn call(lexer: &mut Lexer<'_>, word: &str) -> Result<Expr, TextError> {
    let join: fn(&Expr, Expr) -> Expr = match word {
        "div" => |a, b| a.div(b),
        "mod" => |a, b| a.rem(b),
        "min" => |a, b| Expr::at_most(a, b),
        "max" => |a, b| Expr::at_least(a, b),
        _ => return Err(lexer.unexpected("an index expression")),
    };
    lexer.take()?;
    let place = lexer.clone();
    let operands = lexer.list("(", ")", parse_expr)?;
    match &operands[..] {
        [a, b] => Ok(join(a, b.clone())),
        other => Err(place.error(format!("{} operands for `{word}`, want 2", other.len()))),
    }
}

/// The variable that a word such as `i12` names.
pub(crate) fn parse_var(word: &str) -> Option<Var> {
    let digits = word.strip_prefix('i')?;
    let canonical = digits == "0" || !digits.starts_with('0');
    let fine = canonical && digits.bytes().all(|b| b.is_ascii_digit());
    fine.then(|| digits.parse().ok().map(Var)).flatten()
}

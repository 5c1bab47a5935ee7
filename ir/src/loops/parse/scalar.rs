//! Parses scalars.
use super::super::math::MathFn;
use super::super::print::{binary_word, unary_word};
use super::super::scalar::{BinaryOp, Const, Scalar, UnaryOp};
use super::Parser;
use crate::dtype::DType;
use crate::text::{Lexer, TextError, Token, parse_expr};

const UNARY: [UnaryOp; 8] = [
    UnaryOp::Neg,
    UnaryOp::Abs,
    UnaryOp::Sqrt,
    UnaryOp::Floor,
    UnaryOp::Ceil,
    UnaryOp::Trunc,
    UnaryOp::Round,
    UnaryOp::Not,
];

const BINARY: [BinaryOp; 17] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Rem,
    BinaryOp::Min,
    BinaryOp::Max,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Xor,
    BinaryOp::Shl,
    BinaryOp::Shr,
    BinaryOp::Scale,
    BinaryOp::Eq,
    BinaryOp::Ne,
    BinaryOp::Lt,
    BinaryOp::Le,
];

impl Parser {
    /// Takes a scalar.
    pub(super) fn scalar(&self, lexer: &mut Lexer<'_>) -> Result<Scalar, TextError> {
        lexer.nested(|lexer| self.infix(lexer, 1))
    }

    /// Takes a scalar whose marks bind at least as tightly as `least`.
    fn infix(&self, lexer: &mut Lexer<'_>, least: u8) -> Result<Scalar, TextError> {
        if least > 3 {
            return self.primary(lexer);
        }
        let mut left = self.infix(lexer, least + 1)?;
        let mut length = 0;
        while let Some(op) = mark_ahead(lexer, least) {
            lexer.take()?;
            let right = self.infix(lexer, least + 1)?;
            left = Scalar::binary(op, left, right);
            length += 1;
            if op.is_compare() {
                break;
            }
            if length > 1000 {
                return Err(lexer.error("a scalar of more than 1000 summands or factors"));
            }
        }
        Ok(left)
    }

    fn primary(&self, lexer: &mut Lexer<'_>) -> Result<Scalar, TextError> {
        if lexer.accept("(") {
            let inner = self.scalar(lexer)?;
            lexer.expect(")")?;
            return Ok(inner);
        }
        let word = match lexer.peek()? {
            Token::Word(word) => word,
            _ => return read_const(lexer).map(Scalar::Const),
        };
        if lexer.accept_word("bitcast") {
            let to = lexer.dtype()?;
            let [a] = self.args(lexer, "bitcast")?;
            return Ok(Scalar::Bitcast(to, a));
        }
        let mut after = lexer.clone();
        after.take()?;
        if after.at("(") && !word.starts_with("raw_") {
            lexer.take()?;
            return self.call(lexer, word, &after);
        }
        if !self.names.contains_key(word) {
            return read_const(lexer).map(Scalar::Const);
        }
        let buffer = self.id(lexer)?;
        let index = match lexer.at("[") {
            true => lexer.list("[", "]", parse_expr)?,
            false => vec![],
        };
        Ok(Scalar::Load(buffer, index))
    }

    /// Takes the arguments of a word.
    fn call(
        &self,
        lexer: &mut Lexer<'_>,
        word: &str,
        place: &Lexer<'_>,
    ) -> Result<Scalar, TextError> {
        if word == "index" {
            lexer.expect("(")?;
            let e = parse_expr(lexer)?;
            lexer.expect(")")?;
            return Ok(Scalar::Index(e));
        }
        if word == "guard" {
            return self.guard(lexer);
        }
        if let Ok(to) = word.parse::<DType>() {
            let [a] = self.args(lexer, word)?;
            return Ok(Scalar::Cast(to, a));
        }
        if let Some(op) = UNARY.into_iter().find(|op| unary_word(*op) == word) {
            let [a] = self.args(lexer, word)?;
            return Ok(Scalar::Unary(op, a));
        }
        if let Some(op) = BINARY.into_iter().find(|op| binary_word(*op).0 == word) {
            let [a, b] = self.args(lexer, word)?;
            return Ok(Scalar::Binary(op, a, b));
        }
        if let Some(f) = MathFn::ALL.into_iter().find(|f| f.name() == word) {
            let args = lexer.list("(", ")", |lexer| self.scalar(lexer))?;
            return match args.is_empty() {
                true => Err(place.error(format!("`{word}` without arguments"))),
                false => Ok(Scalar::Call(f, args)),
            };
        }
        match word {
            "fma" => {
                let [a, b, c] = self.args(lexer, word)?;
                Ok(Scalar::Fma(a, b, c))
            }
            "select" => {
                let [c, a, b] = self.args(lexer, word)?;
                Ok(Scalar::Select(c, a, b))
            }
            _ => Err(place.error(format!("`{word}` is not a function"))),
        }
    }

    fn guard(&self, lexer: &mut Lexer<'_>) -> Result<Scalar, TextError> {
        lexer.expect("(")?;
        let conds = lexer.list("[", "]", parse_expr)?;
        lexer.expect(",")?;
        let a = self.scalar(lexer)?;
        lexer.expect(",")?;
        let b = self.scalar(lexer)?;
        lexer.expect(")")?;
        Ok(Scalar::Guard(conds, Box::new(a), Box::new(b)))
    }

    fn args<const N: usize>(
        &self,
        lexer: &mut Lexer<'_>,
        word: &str,
    ) -> Result<[Box<Scalar>; N], TextError> {
        let place = lexer.clone();
        let args = lexer.list("(", ")", |lexer| self.scalar(lexer).map(Box::new))?;
        let found = args.len();
        let fail = |_| place.error(format!("{found} arguments for `{word}`, want {N}"));
        args.try_into().map_err(fail)
    }
}

/// The op whose mark is ahead, if it binds exactly as tightly as `level`.
fn mark_ahead(lexer: &Lexer<'_>, level: u8) -> Option<BinaryOp> {
    let of_level = |op: &BinaryOp| binary_word(*op).1 == Some(level);
    let mut ops = BINARY.into_iter().filter(of_level);
    ops.find(|op| lexer.at(binary_word(*op).0))
}

/// Takes a constant.
///
/// Errors: something else is ahead, or a number that is not of its type.
pub(super) fn read_const(lexer: &mut Lexer<'_>) -> Result<Const, TextError> {
    let place = lexer.clone();
    let negative = lexer.accept("-");
    let number = match lexer.peek()? {
        Token::Int(n) => n.to_string(),
        Token::Float(text) => text.to_string(),
        Token::Word(word) => return read_word(lexer, word, negative),
        _ => return Err(lexer.unexpected("a scalar")),
    };
    lexer.take()?;
    let dtype = lexer.dtype()?;
    let text = if negative {
        format!("-{number}")
    } else {
        number
    };
    let found = match dtype.int_range() {
        None if dtype == DType::F64 => text.parse().ok().map(|x| Const::new(dtype, x)),
        None => text
            .parse::<f32>()
            .ok()
            .map(|x| Const::new(dtype, x.into())),
        Some((lo, hi)) => {
            let value = text.parse().ok().filter(|n| (lo..=hi).contains(n));
            value.map(|n| Const::int(dtype, n))
        }
    };
    found.ok_or_else(|| place.error(format!("{text} is not a number of type {dtype}")))
}

/// Takes a constant that is written as a word.
fn read_word(lexer: &mut Lexer<'_>, word: &str, negative: bool) -> Result<Const, TextError> {
    let bool = |value| Const::int(DType::Bool, value);
    let (kind, dtype) = word.split_once('_').unwrap_or((word, "bool"));
    let Ok(dtype) = dtype.parse::<DType>() else {
        return Err(lexer.unexpected("a scalar"));
    };
    let sign = if negative { -1.0 } else { 1.0 };
    let value = match (kind, negative) {
        ("true", false) => bool(1),
        ("false", false) => bool(0),
        ("inf", _) if dtype.is_float() => Const::new(dtype, sign * f64::INFINITY),
        ("nan", false) if dtype.is_float() => Const::new(dtype, f64::NAN),
        ("raw", false) => {
            lexer.take()?;
            return read_raw(lexer, dtype);
        }
        _ => return Err(lexer.unexpected("a scalar")),
    };
    lexer.take()?;
    Ok(value)
}

fn read_raw(lexer: &mut Lexer<'_>, dtype: DType) -> Result<Const, TextError> {
    lexer.expect("(")?;
    let Token::Int(bits) = lexer.peek()? else {
        return Err(lexer.unexpected("the bits of a constant"));
    };
    lexer.take()?;
    lexer.expect(")")?;
    Ok(Const { dtype, bits })
}

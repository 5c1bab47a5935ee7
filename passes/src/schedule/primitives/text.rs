//! The text form of primitives: the name, the loops and buffers, and numbers after a word, such as
//! `split i3 by 8`.
use super::{At, Primitive};
use std::fmt;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::Layout;
use tensmith_ir::text::{Lexer, TextError, Token, parse_expr};

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Primitive::ContractFma => Ok(()),
            Primitive::FoldGuards(v)
            | Primitive::Jam(v)
            | Primitive::Parallelize(v)
            | Primitive::Rfactor(v)
            | Primitive::SkipLanes(v)
            | Primitive::SkipZeros(v)
            | Primitive::Stage(v)
            | Primitive::Straighten(v)
            | Primitive::Unroll(v)
            | Primitive::Vectorize(v) => write!(f, " {v}"),
            Primitive::DropUnitLoops(vars)
            | Primitive::Fuse(vars)
            | Primitive::Peel(vars)
            | Primitive::Reorder(vars) => write!(f, " {}", Listed(vars)),
            Primitive::Attach(p, c) | Primitive::ComputeAt(p, c) => write!(f, " {p}, {c}"),
            Primitive::Cut(v, At::Points(points)) => write!(f, " {v} at {}", Listed(points)),
            Primitive::Cut(v, At::Multiple(of)) => write!(f, " {v} at multiple {of}"),
            Primitive::Fission(v, at) => write!(f, " {v} at {at}"),
            Primitive::Inline(name) => write!(f, " {name}"),
            Primitive::Pack(name, v) => write!(f, " {name} at {v}"),
            Primitive::Prefetch(name, by) => write!(f, " {name} by {by}"),
            Primitive::SetLayout(name, layout) => write!(f, " {name} {layout}"),
            Primitive::Split(v, by) => write!(f, " {v} by {by}"),
        }
    }
}

/// Items with commas between them.
pub struct Listed<'l, T>(pub &'l [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if k == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Primitive {
    /// Takes a primitive in the form that its `Display` gives.
    ///
    /// Errors: something else is ahead.
    pub fn read(lexer: &mut Lexer<'_>) -> Result<Primitive, TextError> {
        let place = lexer.clone();
        Ok(match lexer.word()? {
            "contract_fma" => Primitive::ContractFma,
            "fold_guards" => Primitive::FoldGuards(var(lexer)?),
            "jam" => Primitive::Jam(var(lexer)?),
            "parallelize" => Primitive::Parallelize(var(lexer)?),
            "rfactor" => Primitive::Rfactor(var(lexer)?),
            "skip_lanes" => Primitive::SkipLanes(var(lexer)?),
            "skip_zeros" => Primitive::SkipZeros(var(lexer)?),
            "stage" => Primitive::Stage(var(lexer)?),
            "straighten" => Primitive::Straighten(var(lexer)?),
            "unroll" => Primitive::Unroll(var(lexer)?),
            "vectorize" => Primitive::Vectorize(var(lexer)?),
            "drop_unit_loops" => Primitive::DropUnitLoops(vars(lexer)?),
            "fuse" => Primitive::Fuse(vars(lexer)?),
            "peel" => Primitive::Peel(vars(lexer)?),
            "reorder" => Primitive::Reorder(vars(lexer)?),
            "attach" => {
                let (first, second) = pair(lexer)?;
                Primitive::Attach(first, second)
            }
            "compute_at" => {
                let (producer, consumer) = pair(lexer)?;
                Primitive::ComputeAt(producer, consumer)
            }
            "cut" => Primitive::Cut(var(lexer)?, at(lexer)?),
            "fission" => Primitive::Fission(var(lexer)?, number(lexer, "at")?),
            "inline" => Primitive::Inline(lexer.word()?.into()),
            "pack" => {
                let name = lexer.word()?.into();
                lexer.expect_word("at")?;
                Primitive::Pack(name, var(lexer)?)
            }
            "prefetch" => Primitive::Prefetch(lexer.word()?.into(), number(lexer, "by")?),
            "set_layout" => Primitive::SetLayout(lexer.word()?.into(), Layout::read(lexer)?),
            "split" => Primitive::Split(var(lexer)?, number(lexer, "by")?),
            _ => return Err(place.unexpected("the name of a primitive")),
        })
    }
}

fn at(lexer: &mut Lexer<'_>) -> Result<At, TextError> {
    lexer.expect_word("at")?;
    if lexer.accept_word("multiple") {
        return Ok(At::Multiple(lexer.int()?));
    }
    separated(lexer, |lexer| lexer.int()).map(At::Points)
}

fn number(lexer: &mut Lexer<'_>, word: &str) -> Result<i64, TextError> {
    lexer.expect_word(word)?;
    lexer.int()
}

/// Takes the variable of a loop.
pub fn var(lexer: &mut Lexer<'_>) -> Result<Var, TextError> {
    let place = lexer.clone();
    let found = match lexer.peek()? {
        Token::Word(_) => parse_expr(lexer)?.as_var(),
        _ => None,
    };
    found.ok_or_else(|| place.unexpected("a loop such as `i0`"))
}

fn pair(lexer: &mut Lexer<'_>) -> Result<(Var, Var), TextError> {
    let first = var(lexer)?;
    lexer.expect(",")?;
    Ok((first, var(lexer)?))
}

/// Takes the variables of loops.
pub fn vars(lexer: &mut Lexer<'_>) -> Result<Vec<Var>, TextError> {
    separated(lexer, var)
}

fn separated<T>(
    lexer: &mut Lexer<'_>,
    item: impl Fn(&mut Lexer<'_>) -> Result<T, TextError>,
) -> Result<Vec<T>, TextError> {
    let mut items = vec![item(lexer)?];
    while lexer.accept(",") {
        items.push(item(lexer)?);
    }
    Ok(items)
}

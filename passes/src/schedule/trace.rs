//! Traces: schedules as data.
//!
//! A trace lists the primitives that made a kernel of its naive one, with the names of the recipes
//! that chose them. Its text form has a line each:
//!
//! ```text
//! # contraction
//! split i0 by 64 -> i3, i4
//! reorder i3, i1, i4
//! vectorize i4
//! ```
//!
//! Behind the arrow are the loops that a step made; they may be left out in a text that is written
//! by hand. The same trace on the same kernel gives the same kernel again, to the last variable.
use super::primitives::{Listed, Primitive, Rejected, read_vars};
use std::fmt;
use std::str::FromStr;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::Kernel;
use tensmith_ir::text::{Lexer, TextError, Token};

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The recipe that chose the steps below; a word.
    Recipe(String),
    /// An application of a primitive.
    Step {
        /// What is done.
        primitive: Primitive,
        /// The loops that this makes; empty if it makes none, or if the text does not say so.
        made: Vec<Var>,
    },
}

/// A schedule: what was done to a naive kernel, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The lines of the text form.
    pub lines: Vec<Line>,
}

/// A step of a trace that does not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {} of the schedule, `{primitive}`: {reason}", .line + 1)]
pub struct ReplayError {
    /// The number of the line, from 0.
    pub line: usize,
    /// The step.
    pub primitive: Box<Primitive>,
    /// Why it does not apply.
    pub reason: Rejected,
}

impl Trace {
    /// The primitives, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Primitive> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step { primitive, .. } => Some(primitive),
            Line::Recipe(_) => None,
        })
    }

    /// The names of the recipes, in order.
    pub fn recipes(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Recipe(name) => Some(&name[..]),
            Line::Step { .. } => None,
        })
    }
}

/// Schedules a naive kernel as a trace says.
///
/// Errors: the first step that does not apply, or makes other loops than the trace says.
pub fn replay(mut kernel: Kernel, trace: &Trace) -> Result<Kernel, ReplayError> {
    for (line, step) in trace.lines.iter().enumerate() {
        let Line::Step { primitive, made } = step else {
            continue;
        };
        let same = |found: &[Var]| made.is_empty() || found == made;
        let applied = match primitive.apply(&mut kernel) {
            Ok(forwarded) if same(&forwarded.made) => Ok(()),
            Ok(_) => Err(Rejected::OtherLoops),
            Err(reason) => Err(reason),
        };
        applied.map_err(|reason| ReplayError {
            line,
            primitive: Box::new(primitive.clone()),
            reason,
        })?;
    }
    Ok(kernel)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Recipe(name) => write!(f, "# {name}"),
            Line::Step { primitive, made } if made.is_empty() => write!(f, "{primitive}"),
            Line::Step { primitive, made } => write!(f, "{primitive} -> {}", Listed(made)),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Trace {
    type Err = TextError;

    /// Reads a trace in the form that its `Display` gives.
    ///
    /// Errors: line and column, expected and found.
    fn from_str(text: &str) -> Result<Trace, TextError> {
        let mut lexer = Lexer::new(text);
        let mut lines = Vec::new();
        while lexer.peek()? != Token::End {
            lines.push(read_line(&mut lexer)?);
        }
        Ok(Trace { lines })
    }
}

fn read_line(lexer: &mut Lexer<'_>) -> Result<Line, TextError> {
    if lexer.accept("#") {
        return Ok(Line::Recipe(lexer.word()?.into()));
    }
    let primitive = Primitive::read(lexer)?;
    let made = match lexer.accept("->") {
        true => read_vars(lexer)?,
        false => vec![],
    };
    Ok(Line::Step { primitive, made })
}

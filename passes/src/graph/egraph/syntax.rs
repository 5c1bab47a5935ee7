//! The text of equations: `(mul ?x (sigmoid ?x))`.
//!
//! `?x` stands for any value, a number for a constant with that number in all places, a list for an
//! application. `reduce_max@m` names the attributes of an application: those of the same name are
//! equal, and `@!` are those that a rule derives. `add` and `mul` take any number of operands.
use tensmith_ir::ops::{Op, find};

/// A parsed side of an equation.
#[derive(Clone, Debug, PartialEq)]
pub enum Syntax {
    /// A variable, by its position among the names.
    Var(usize),
    /// A number in all places.
    Number(f64),
    /// An application; `attrs` is a position among the names of attributes.
    Call {
        /// The row of the op table.
        op: Op,
        /// The name of its attributes, if it has some.
        attrs: Option<usize>,
        /// Operands.
        args: Vec<Syntax>,
    },
}

/// The names that the sides of an equation share, in the order of their first use.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Variables.
    pub vars: Vec<String>,
    /// Attributes.
    pub attrs: Vec<String>,
}

/// The name of attributes that a rule derives.
pub const DERIVED: &str = "!";

/// Parses one side.
///
/// Panics: on text that is no equation: rules are constants of this crate, and tests parse all.
pub fn parse(text: &str, names: &mut Names) -> Syntax {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace();
    let side = item(&mut words, names).expect("invariant: an equation has two sides");
    assert!(words.next().is_none(), "invariant: `{text}` is one term");
    side
}

fn item<'t>(words: &mut impl Iterator<Item = &'t str>, names: &mut Names) -> Option<Syntax> {
    match words.next()? {
        ")" => None,
        "(" => {
            let head = words.next()?;
            let (name, attrs) = head
                .split_once('@')
                .map_or((head, None), |(n, a)| (n, Some(a)));
            let op = find(name).unwrap_or_else(|| panic!("invariant: `{name}` is an op"));
            let attrs = attrs.map(|a| position(&mut names.attrs, a));
            let args = std::iter::from_fn(|| item(words, names)).collect();
            Some(Syntax::Call { op, attrs, args })
        }
        word => Some(match word.strip_prefix('?') {
            Some(name) => Syntax::Var(position(&mut names.vars, name)),
            None => Syntax::Number(number(word)),
        }),
    }
}

fn number(word: &str) -> f64 {
    let known = [
        ("1/sqrt2", std::f64::consts::FRAC_1_SQRT_2),
        ("sqrt2/pi", (2.0 / std::f64::consts::PI).sqrt()),
        ("1/3", 1.0 / 3.0),
        ("1/6", 1.0 / 6.0),
    ];
    let found = known.iter().find(|(name, _)| *name == word);
    let parsed = || {
        word.parse()
            .unwrap_or_else(|_| panic!("invariant: `{word}` is a number"))
    };
    found.map_or_else(parsed, |(_, value)| *value)
}

fn position(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    })
}

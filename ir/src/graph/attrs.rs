//! Typed attributes of nodes.
use crate::dtype::DType;
use crate::expr::Expr;
use std::collections::BTreeMap;

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    /// One integer.
    Int,
    /// A list of integers.
    Ints,
    /// A float; compared and hashed by its bits.
    Float,
    /// A list of floats.
    Floats,
    /// A flag.
    Bool,
    /// A word.
    Str,
    /// An element type.
    DType,
    /// A list of symbolic integers.
    Dims,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrValue {
    /// One integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A float.
    Float(f64),
    /// A list of floats.
    Floats(Vec<f64>),
    /// A flag.
    Bool(bool),
    /// A word of letters, digits and `_`, `,`, `-`, `>`.
    Str(String),
    /// An element type.
    DType(DType),
    /// Symbolic integers.
    Dims(Vec<Expr>),
}

impl AttrValue {
    /// The type of this value.
    pub fn kind(&self) -> AttrKind {
        match self {
            AttrValue::Int(_) => AttrKind::Int,
            AttrValue::Ints(_) => AttrKind::Ints,
            AttrValue::Float(_) => AttrKind::Float,
            AttrValue::Floats(_) => AttrKind::Floats,
            AttrValue::Bool(_) => AttrKind::Bool,
            AttrValue::Str(_) => AttrKind::Str,
            AttrValue::DType(_) => AttrKind::DType,
            AttrValue::Dims(_) => AttrKind::Dims,
        }
    }
}

macro_rules! conversions {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for AttrValue {
            fn from(v: $from) -> Self { AttrValue::$variant(v.into()) }
        }
    )*};
}
conversions!(i64 => Int, Vec<i64> => Ints, f64 => Float, Vec<f64> => Floats, bool => Bool, &str => Str, String => Str, DType => DType, Vec<Expr> => Dims);

/// Attributes by name. A row of the op table says which there are; `verify_graph` and
/// `Graph::add` hold nodes to it, so the accessors treat a missing one as a broken invariant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(BTreeMap<&'static str, AttrValue>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// These attributes and one more.
    pub fn with(mut self, name: &'static str, value: impl Into<AttrValue>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets one attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<AttrValue>) {
        self.0.insert(name, value.into());
    }

    /// One attribute, if set.
    pub fn get(&self, name: &str) -> Option<&AttrValue> {
        self.0.get(name)
    }

    /// All attributes, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &AttrValue)> {
        self.0.iter().map(|(k, v)| (*k, v))
    }

    /// An integer.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(AttrValue::Int(v)) => *v,
            other => wrong(name, "int", other),
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Some(AttrValue::Ints(v)) => v,
            other => wrong(name, "ints", other),
        }
    }

    /// A float.
    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(AttrValue::Float(v)) => *v,
            other => wrong(name, "float", other),
        }
    }

    /// A list of floats.
    pub fn floats(&self, name: &str) -> &[f64] {
        match self.get(name) {
            Some(AttrValue::Floats(v)) => v,
            other => wrong(name, "floats", other),
        }
    }

    /// A flag.
    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Some(AttrValue::Bool(v)) => *v,
            other => wrong(name, "bool", other),
        }
    }

    /// A word.
    pub fn str(&self, name: &str) -> &str {
        match self.get(name) {
            Some(AttrValue::Str(v)) => v,
            other => wrong(name, "str", other),
        }
    }

    /// An element type.
    pub fn dtype(&self, name: &str) -> DType {
        match self.get(name) {
            Some(AttrValue::DType(v)) => *v,
            other => wrong(name, "dtype", other),
        }
    }

    /// Symbolic integers.
    pub fn dims(&self, name: &str) -> &[Expr] {
        match self.get(name) {
            Some(AttrValue::Dims(v)) => v,
            other => wrong(name, "dims", other),
        }
    }
}

fn wrong(name: &str, kind: &str, found: Option<&AttrValue>) -> ! {
    panic!("invariant: attribute `{name}` is declared as {kind}, found {found:?}")
}

//! The one node of the e-graph: any row of the op table over classes of equal values.
use egg::{Id, Language};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use tensmith_ir::graph::Attrs;
use tensmith_ir::ops::Op;
use tensmith_ir::tensor::Tensor;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// A value from outside: an input, a large constant, a result of control flow.
    Leaf(u32),
    /// A constant of few elements.
    Constant(Known),
    /// An application of an op.
    Call(Call),
    /// One of the results of an application.
    Part(u32, [Id; 1]),
}

/// An application of an op: equal if op, attributes and operands are.
#[derive(Clone, Debug)]
pub struct Call {
    /// The row of the op table.
    pub op: Op,
    /// Its attributes.
    pub attrs: Arc<Attrs>,
    /// The attributes as text, by which they are compared.
    key: Arc<str>,
    /// Operands.
    pub args: Vec<Id>,
}

/// A constant, equal by its elements' bytes.
#[derive(Clone, Debug)]
pub struct Known(pub Arc<Tensor>);

/// What nodes of one kind have in common: all but their operands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Head {
    /// A leaf.
    Leaf(u32),
    /// A constant.
    Constant(Known),
    /// An op and its attributes.
    Call(&'static str, Arc<str>),
    /// The number of a result.
    Part(u32),
}

impl Call {
    /// An application.
    pub fn new(op: Op, attrs: Attrs, args: Vec<Id>) -> Self {
        let key = format!("{attrs:?}").into();
        Call {
            op,
            attrs: Arc::new(attrs),
            key,
            args,
        }
    }

    fn parts(&self) -> (&'static str, &str, &[Id]) {
        (self.op.name, &self.key, &self.args)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Call {}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Known {
    fn parts(&self) -> (&'static str, &[usize], &[u8]) {
        (self.0.dtype.name(), &self.0.shape, &self.0.data)
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Known {}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Known {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        match self {
            Term::Leaf(k) => Head::Leaf(*k),
            Term::Constant(c) => Head::Constant(c.clone()),
            Term::Call(call) => Head::Call(call.op.name, call.key.clone()),
            Term::Part(k, _) => Head::Part(*k),
        }
    }

    fn matches(&self, other: &Self) -> bool {
        self.discriminant() == other.discriminant()
            && self.children().len() == other.children().len()
    }

    fn children(&self) -> &[Id] {
        match self {
            Term::Leaf(_) | Term::Constant(_) => &[],
            Term::Call(call) => &call.args,
            Term::Part(_, of) => of,
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Term::Leaf(_) | Term::Constant(_) => &mut [],
            Term::Call(call) => &mut call.args,
            Term::Part(_, of) => of,
        }
    }
}

//! Where reshapes and transposes bring the elements of a value: an index of an axis is a number in
//! mixed radix, and what moves elements only deals its digits to other axes.
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, NodeId, ValueId};

/// Movements of a chain, at most.
const DEPTH: usize = 8;

/// The digits of a value that reshapes and transposes make of another one. Digits are numbers; axes
/// of extent 1 have none.
#[derive(Clone, Debug)]
pub(super) struct Digits {
    /// What is moved.
    pub source: ValueId,
    /// Of each axis of the source, the digits from the first to the last.
    pub from: Vec<Vec<usize>>,
    /// Of each axis of the value.
    pub to: Vec<Vec<usize>>,
    /// Of each digit.
    pub extents: Vec<Expr>,
}

impl Digits {
    /// Those of a value that nothing moves.
    pub fn of(graph: &Graph, source: ValueId) -> Self {
        let mut extents = Vec::new();
        let mut digit = |extent: &Expr| match extent.is(1) {
            true => vec![],
            false => {
                extents.push(extent.clone());
                vec![extents.len() - 1]
            }
        };
        let shape = &graph.ty(source).shape;
        let from: Vec<Vec<usize>> = shape.iter().map(&mut digit).collect();
        Digits {
            source,
            to: from.clone(),
            from,
            extents,
        }
    }

    /// Those behind a transpose.
    fn transposed(mut self, perm: &[i64]) -> Self {
        self.to = perm.iter().map(|p| self.to[*p as usize].clone()).collect();
        self
    }

    /// Those behind a reshape; `None` where an axis ends within a digit.
    fn reshaped(mut self, shape: &[Expr]) -> Option<Self> {
        let mut rest: Vec<usize> = self.to.concat();
        rest.reverse();
        let mut to = Vec::new();
        for extent in shape {
            let mut own = Vec::new();
            let mut left = extent.clone();
            while !left.is(1) {
                let digit = rest.pop()?;
                let of = self.extents[digit].clone();
                own.push(digit);
                if of == left {
                    break;
                }
                let (of, most) = (of.as_const()?, left.as_const()?);
                if of > 0 && most % of == 0 {
                    left = (most / of).into();
                } else if most > 0 && of % most == 0 {
                    rest.push(self.split(digit, most, of / most));
                    break;
                } else {
                    return None;
                }
            }
            to.push(own);
        }
        self.to = to;
        rest.is_empty().then_some(self)
    }

    /// Parts a digit that is behind all that were dealt; gives the lower one.
    fn split(&mut self, digit: usize, upper: i64, lower: i64) -> usize {
        let new = self.extents.len();
        self.extents[digit] = upper.into();
        self.extents.push(lower.into());
        for axis in &mut self.from {
            if let Some(k) = axis.iter().position(|d| *d == digit) {
                axis.insert(k + 1, new);
            }
        }
        new
    }
}

/// The digits of a value for each value that reshapes and transposes above it move, of which nothing
/// else reads what is between; the farthest first.
pub(super) fn digits(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId) -> Vec<Digits> {
    let mut chain = Vec::new();
    let mut at = value;
    while let Some(id) = graph.producer(at).filter(|_| chain.len() < DEPTH) {
        let node = graph.node(id);
        let only = uses[at.0 as usize].len() == 1 && !graph.outputs.contains(&at);
        if !only || !matches!(node.op.name, "reshape" | "transpose") {
            break;
        }
        chain.push(node);
        at = node.inputs[0];
    }
    let along = |chain: &[&tensmith_ir::graph::Node]| {
        let first = Digits::of(graph, chain.last()?.inputs[0]);
        chain
            .iter()
            .rev()
            .try_fold(first, |found, node| match node.op.name {
                "transpose" => Some(found.transposed(node.attrs.ints("perm"))),
                _ => found.reshaped(&graph.ty(node.outputs[0]).shape),
            })
    };
    (1..=chain.len())
        .rev()
        .filter_map(|n| along(&chain[..n]))
        .collect()
}

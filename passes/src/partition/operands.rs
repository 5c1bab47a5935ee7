//! Which movements of queries, keys, values and results are part of a streamed chain.
//!
//! Exporters part one product into queries, keys and values, and heads from columns, by slices,
//! reshapes and transposes; none of them is work where a strip reads its operands by index. Keys
//! are turned, so that those of a row lie side by side, and queries are turned and scaled, once for
//! each strip, in scratch memory.
use super::streams::Finder;
use std::collections::BTreeSet;
use tensmith_ir::define::{Part, Staged};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, Node, NodeId, ValueId};
use tensmith_ir::ops::Spec;

/// Movements between memory and a contraction, at most.
const DEPTH: usize = 12;
/// Strips of a head, at most, that turn the keys each for themselves: more cost more than turning
/// them once in memory.
const TURNS: i64 = 4;
/// Units: bytes of the keys of a head, at most, that are turned in scratch memory: a quarter of a
/// second cache.
const TURNED_BYTES: i64 = 256 << 10;

/// A movement or scaling of an operand, and how it leaves neighbours along the last axis.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// They stay neighbours.
    Along,
    /// They come to lie apart.
    Turns,
    /// Each is multiplied.
    Scales,
}

impl Finder<'_> {
    /// Lets movements of the operands join: of the queries and keys of `product`, whose result has
    /// `strips` of queries if that is known, and of the values of `root`. Gives what strips hold
    /// of them in scratch memory.
    pub fn claim_operands(
        &mut self,
        (root, weights): (NodeId, usize),
        product: NodeId,
        strips: Option<i64>,
    ) -> Vec<Staged> {
        let values = self.graph.node(root).inputs[1 - weights];
        let Some((queries, keys, side_by_side)) = self.roles(product) else {
            self.claim_movements(product, &[(values, &[Step::Along])]);
            return vec![];
        };
        let turns = side_by_side && strips.is_some_and(|n| n <= TURNS) && self.is_small(keys);
        let all: &[Step] = &[Step::Along, Step::Turns, Step::Scales];
        let of_keys: &[Step] = match turns {
            true => all,
            false => &[Step::Along],
        };
        self.claim_movements(
            product,
            &[
                // Each query is of one strip.
                (queries, all),
                (keys, of_keys),
                (values, &[Step::Along]),
            ],
        );
        let operands = [(queries, Part::Rows), (keys, Part::Whole)].into_iter();
        operands
            .filter(|(value, _)| self.is_work(*value, DEPTH))
            .map(|(value, part)| Staged {
                value,
                product,
                part,
            })
            .collect()
    }

    /// The operand of a product that has the rows of its result, and the one that has the columns,
    /// if each lies by matrices, with one axis that is summed over; and whether the columns lie side
    /// by side.
    fn roles(&self, product: NodeId) -> Option<(ValueId, ValueId, bool)> {
        let node = self.graph.node(product);
        let spec = Spec::of(&node.attrs);
        let [.., row, column] = spec.out[..] else {
            return None;
        };
        let [sum] = spec.summed()[..] else {
            return None;
        };
        let ends = |letters: &[u8], own: [u8; 2], other: u8| {
            letters.ends_with(&own) && !letters.contains(&other)
        };
        let of_columns = |letters: &[u8]| {
            let orders = [[sum, column], [column, sum]];
            orders.iter().position(|own| ends(letters, *own, row))
        };
        let [a, b] = node.inputs[..] else { return None };
        let ways = [(a, &spec.a, b, &spec.b), (b, &spec.b, a, &spec.a)].into_iter();
        let mut ways = ways.filter(|(_, own, ..)| ends(own, [row, sum], column));
        ways.find_map(|(rows, _, columns, other)| Some((rows, columns, of_columns(other)? == 0)))
    }

    /// Whether a matrix of an operand may lie in scratch memory.
    fn is_small(&self, value: ValueId) -> bool {
        let ty = self.graph.ty(value);
        let matrix = ty.shape[ty.rank() - 2..].iter().map(Expr::as_const);
        let count = matrix.product::<Option<i64>>();
        count.is_some_and(|n| n.saturating_mul(ty.dtype.bytes() as i64) <= TURNED_BYTES)
    }

    /// Lets the movements above operands join that only members read, if they do no more than the
    /// steps that each operand allows. Work that a strip does for its part of an operand is no part
    /// of what another operand or other members read, which need all of it.
    fn claim_movements(&mut self, product: NodeId, operands: &[(ValueId, &[Step])]) {
        let all = [Step::Along, Step::Turns, Step::Scales];
        let reached = |(value, allowed): (ValueId, &[Step])| {
            let mut found = BTreeSet::new();
            self.collect(value, allowed, DEPTH, &mut found);
            found
        };
        let reach: Vec<BTreeSet<NodeId>> = operands.iter().map(|o| reached((o.0, &all))).collect();
        let mut claims = BTreeSet::new();
        for (k, operand) in operands.iter().enumerate() {
            let own = reached(*operand);
            let others = || (0..operands.len()).filter(|other| *other != k);
            let is_shared = |id: &NodeId| others().any(|other| reach[other].contains(id));
            let is_read = |id: &NodeId| {
                let results = self.graph.node(*id).outputs.iter();
                let mut readers = results.flat_map(|v| &self.uses[v.0 as usize]);
                readers.any(|r| *r != product && !own.contains(r))
            };
            let is_work = |id: &NodeId| {
                let taken = step(self.graph, self.graph.node(*id));
                taken.is_some_and(|(_, step)| step != Step::Along)
            };
            let fits = |id: &NodeId| !is_work(id) || !is_shared(id) && !is_read(id);
            claims.extend(own.iter().copied().filter(fits));
        }
        loop {
            let all: BTreeSet<NodeId> = claims.union(&self.members).copied().collect();
            let before = claims.len();
            claims.retain(|n| self.is_inside(*n, &all));
            if claims.len() == before {
                break self.members = all;
            }
        }
    }

    fn collect(
        &self,
        value: ValueId,
        allowed: &[Step],
        depth: usize,
        claims: &mut BTreeSet<NodeId>,
    ) {
        let Some(id) = self.graph.producer(value).filter(|_| depth > 0) else {
            return;
        };
        if let Some((from, step)) = step(self.graph, self.graph.node(id))
            && allowed.contains(&step)
        {
            claims.insert(id);
            self.collect(from, allowed, depth - 1, claims);
        }
    }

    /// Whether members above an operand do more than to say where its elements lie.
    fn is_work(&self, value: ValueId, depth: usize) -> bool {
        let id = self.graph.producer(value);
        let member = id.filter(|id| depth > 0 && self.members.contains(id));
        let taken = member.and_then(|id| step(self.graph, self.graph.node(id)));
        taken.is_some_and(|(from, step)| step != Step::Along || self.is_work(from, depth - 1))
    }

    /// Where the only reader of the result of a chain exchanges axes and leaves the columns last,
    /// that reader ends the chain, and strips write in its order; so it may behind a reshape of all
    /// axes but those of `row` and columns. Gives the last node, and which axes of its result are
    /// `outer` ones and that of the rows.
    pub fn claim_order(&mut self, last: NodeId, outer: Vec<usize>, row: usize) -> End {
        let own = End {
            root: last,
            outer,
            row,
        };
        let Some(reader) = self.only_reader(last) else {
            return own;
        };
        if let Some(end) = self.exchanged(reader, &own.outer, own.row) {
            self.members.insert(reader);
            return end;
        }
        let [from, to] =
            [last, reader].map(|n| &self.graph.ty(self.graph.node(n).outputs[0]).shape);
        let (rank, wide) = (from.len(), to.len());
        let in_order = own.outer.iter().copied().eq(0..rank - 2) && row == rank - 2;
        let parted = self.graph.node(reader).op.name == "reshape"
            && wide >= 2
            && from[rank - 2..] == to[wide - 2..];
        if !in_order || !parted {
            return own;
        }
        let next = self.only_reader(reader);
        let outer: Vec<usize> = (0..wide - 2).collect();
        match next.and_then(|n| self.exchanged(n, &outer, wide - 2)) {
            Some(end) => {
                self.members.extend([reader, end.root]);
                end
            }
            None => own,
        }
    }

    /// The only node that reads a node's result, which is none of the graph.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        let result = self.graph.node(id).outputs[0];
        match self.uses[result.0 as usize][..] {
            [reader] if !self.is_output[result.0 as usize] => Some(reader),
            _ => None,
        }
    }

    /// The end of a chain that a node makes of another end by exchanging its axes.
    fn exchanged(&self, id: NodeId, outer: &[usize], row: usize) -> Option<End> {
        let node = self.graph.node(id);
        let along = step(self.graph, node).is_some_and(|(_, s)| s == Step::Along);
        if node.op.name != "transpose" || !along {
            return None;
        }
        let perm = node.attrs.ints("perm");
        let place = |d: &usize| perm.iter().position(|p| *p == *d as i64);
        Some(End {
            root: id,
            outer: outer.iter().map(place).collect::<Option<_>>()?,
            row: place(&row)?,
        })
    }
}

/// How a chain ends.
pub struct End {
    /// The last node.
    pub root: NodeId,
    /// The axes of its result that batches and heads run along, in the order of the scores.
    pub outer: Vec<usize>,
    /// The axis that queries run along.
    pub row: usize,
}

/// What a node does to its operand if it only moves it, or only multiplies it by a number.
fn step(graph: &Graph, node: &Node) -> Option<(ValueId, Step)> {
    let from = *node.inputs.first()?;
    let shapes = [*node.outputs.first()?, from].map(|v| &graph.ty(v).shape);
    let [to_last, from_last] = [shapes[0].last()?, shapes[1].last()?];
    let along = |stay: bool| if stay { Step::Along } else { Step::Turns };
    let step = match node.op.name {
        "reshape" => {
            let parts = to_last.as_const().zip(from_last.as_const());
            let divides = parts.is_some_and(|(to, from)| to > 0 && from % to == 0);
            (to_last == from_last || divides).then_some(Step::Along)?
        }
        "transpose" => along(node.attrs.ints("perm").last() == Some(&(shapes[1].len() as i64 - 1))),
        "slice" => along(node.attrs.ints("steps").last() == Some(&1)),
        "expand" => (to_last == from_last).then_some(Step::Along)?,
        "mul" => return scaled(graph, node).map(|v| (v, Step::Scales)),
        _ => return None,
    };
    Some((from, step))
}

/// The operand that a node multiplies by a constant number.
fn scaled(graph: &Graph, node: &Node) -> Option<ValueId> {
    let shape = &graph.ty(node.outputs[0]).shape;
    let number = |v: &ValueId| graph.constant(*v).is_some_and(|t| t.count() == 1);
    let factors = [(0, 1), (1, 0)].into_iter();
    let mut factors = factors.map(|(k, other)| (node.inputs[k], node.inputs[other]));
    let (value, _) = factors.find(|(v, n)| number(n) && graph.ty(*v).shape == *shape)?;
    Some(value)
}

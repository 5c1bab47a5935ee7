//! Which chains of a contraction, scalar work, a softmax and a contraction are streamed.
//!
//! The chain is known by its structure: a contraction sums over the last axis of an operand that
//! scalar work and reshapes make of a softmax along that axis, whose operand scalar work makes of
//! another contraction. The chain becomes one group with the streamed definition. What only the
//! scalar work reads (a mask made of positions, rows that see no key) joins it where lanes of
//! vectors can carry it, and so do movements of the operands ([`operands`](super::operands)).
use std::collections::{BTreeMap, BTreeSet};
use tensmith_ir::define::Streamed;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Lower, Spec};

/// How many nodes up a softmax or a contraction is looked for.
const DEPTH: usize = 16;

/// Queries of a strip at most: whole register tiles of both contractions, which differ in height.
const ROWS: i64 = 48;
/// So many queries are one strip: two would each have a copy of the keys.
const ONE_STRIP: i64 = 64;
/// Queries of a strip at least: one register tile.
const LEAST_ROWS: i64 = 8;
/// Units: bytes of the scores of a strip; with the weights, keys and values they share the second
/// cache.
const STRIP_BYTES: i64 = 512 << 10;
/// Keys of a block where their number is not known: whole registers of every target.
const KEYS: i64 = 64;

/// A chain that is streamed.
#[derive(Clone)]
pub struct Stream {
    /// Its nodes, the last contraction included.
    pub members: BTreeSet<NodeId>,
    /// How it is defined.
    pub streamed: Streamed,
}

/// The chains, by their last nodes.
pub fn find_streams(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    is_output: &[bool],
) -> BTreeMap<NodeId, Stream> {
    let mut found = BTreeMap::new();
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    for id in graph.node_ids() {
        let finder = Finder {
            graph,
            uses,
            is_output,
            members: BTreeSet::from([id]),
        };
        if let Some((root, stream)) = finder.stream(id)
            && stream.members.is_disjoint(&taken)
        {
            taken.extend(&stream.members);
            found.insert(root, stream);
        }
    }
    found
}

/// A chain while nodes join it.
pub struct Finder<'g> {
    pub(super) graph: &'g Graph,
    pub(super) uses: &'g [Vec<NodeId>],
    pub(super) is_output: &'g [bool],
    pub(super) members: BTreeSet<NodeId>,
}

/// The last two extents: queries and keys.
fn plane(shape: &[Expr]) -> Option<[&Expr; 2]> {
    match shape {
        [.., queries, keys] => Some([queries, keys]),
        _ => None,
    }
}

impl Finder<'_> {
    /// The chain that ends with a contraction, and its last node.
    fn stream(mut self, last: NodeId) -> Option<(NodeId, Stream)> {
        let node = self.graph.node(last);
        if node.op.name != "contract" {
            return None;
        }
        let spec = Spec::of(&node.attrs);
        let which = [(&spec.a, &spec.b), (&spec.b, &spec.a)];
        let (k, letters) = which
            .into_iter()
            .enumerate()
            .find_map(|(k, (own, other))| {
                let [.., row, key] = own[..] else { return None };
                let fits = spec.summed() == [key] && other.contains(&key) && !other.contains(&row);
                (fits && self.reaches_softmax(node.inputs[k])).then_some((k, own))
            })?;
        let weights = node.inputs[k];
        let graph = self.graph;
        let softmax = self.climb(weights, &|n| is_softmax(graph, n), DEPTH)?;
        let scores = self.graph.node(softmax).inputs[0];
        let product = self.climb(scores, &|n| n.op.name == "contract", DEPTH)?;
        self.claim_masks();
        let others = self.members.iter().filter(|n| **n != last);
        if !others.clone().all(|n| self.is_inside(*n, &self.members)) {
            return None;
        }
        let scores = self.reduced().unwrap_or(Some(scores))?;
        let rows = self.rows(scores);
        let staged = self.claim_operands((last, k), product, self.strips(scores, rows));
        let place = |c: &u8| spec.out.iter().position(|o| o == c);
        let (row, outer) = letters[..letters.len() - 1].split_last()?;
        let outer = outer.iter().map(place).collect::<Option<_>>()?;
        let end = self.claim_order(last, outer, place(row)?);
        let streamed = Streamed {
            scores,
            weights,
            outer: end.outer,
            row: end.row,
            rows,
            keys: KEYS,
            staged,
        };
        let members = self.members;
        Some((end.root, Stream { members, streamed }))
    }

    /// The value of whose rows a member finds the greatest or least element, if one does: it is what
    /// a strip holds, as what lies before it would be computed again. `None` inside: there are several.
    fn reduced(&self) -> Option<Option<ValueId>> {
        let nodes = self.members.iter().map(|id| self.graph.node(*id));
        let rows = nodes.filter(|n| n.op.class == Class::Reduction);
        let read: BTreeSet<ValueId> = rows.map(|n| n.inputs[0]).collect();
        let mut read = read.into_iter();
        read.next()
            .map(|first| Some(first).filter(|_| read.next().is_none()))
    }

    /// Strips of the queries of one head, if their number is known.
    fn strips(&self, scores: ValueId, rows: i64) -> Option<i64> {
        let [queries, _] = plane(&self.graph.ty(scores).shape)?;
        let queries = queries.as_const()?;
        Some((queries + rows - 1) / rows)
    }

    fn reaches_softmax(&self, value: ValueId) -> bool {
        let mut trial = Finder {
            members: BTreeSet::new(),
            ..*self
        };
        let goal = |n: &Node| is_softmax(self.graph, n);
        trial.climb(value, &goal, DEPTH).is_some()
    }

    /// Queries of a strip for scores of a type.
    fn rows(&self, scores: ValueId) -> i64 {
        let ty = self.graph.ty(scores);
        let extent = |k: usize| ty.shape[ty.rank() - k].as_const();
        let most = extent(2).map_or(ROWS, |n| match n {
            0..=ONE_STRIP => n.max(1),
            _ => ROWS,
        });
        let row_bytes = extent(1).map_or(0, |n| n.saturating_mul(ty.dtype.bytes() as i64));
        let fitting = STRIP_BYTES / row_bytes.max(1) / LEAST_ROWS * LEAST_ROWS;
        let rows = fitting.clamp(LEAST_ROWS, ROWS.max(most)).min(most);
        match extent(2) {
            // A few rows at the end would be a strip of their own, which is no register tile.
            Some(n) if n > rows && (1..LEAST_ROWS).contains(&(n % rows)) => {
                let strips = (n + rows - 1) / rows;
                (n + strips - 1) / strips
            }
            _ => rows,
        }
    }

    /// Looks upwards from a value, through scalar work and reshapes that leave queries and keys
    /// alone, for a node; what is passed becomes a member, and so does the node.
    fn climb(
        &mut self,
        value: ValueId,
        goal: &dyn Fn(&Node) -> bool,
        depth: usize,
    ) -> Option<NodeId> {
        let id = self.graph.producer(value).filter(|_| depth > 0)?;
        let node = self.graph.node(id);
        let [result] = node.outputs[..] else {
            return None;
        };
        let shape = &self.graph.ty(result).shape;
        let found = if goal(node) {
            plane(shape).map(|_| id)
        } else {
            let same = |v: &ValueId| {
                let from = &self.graph.ty(*v).shape;
                match node.op.lower {
                    Lower::View => plane(from) == plane(shape),
                    _ => node.op.class == Class::Elementwise && from == shape,
                }
            };
            let ways: Vec<ValueId> = node.inputs.iter().copied().filter(same).collect();
            ways.into_iter()
                .find_map(|v| self.climb(v, goal, depth - 1))
        }?;
        self.members.insert(id);
        Some(found)
    }

    /// Whether only nodes of a set read a node's results.
    pub(super) fn is_inside(&self, id: NodeId, set: &BTreeSet<NodeId>) -> bool {
        self.graph.node(id).outputs.iter().all(|v| {
            let readers = &self.uses[v.0 as usize];
            !self.is_output[v.0 as usize] && readers.iter().all(|r| set.contains(r))
        })
    }

    /// Lets what the scalar work reads join.
    fn claim_masks(&mut self) {
        let members: Vec<NodeId> = self.members.iter().copied().collect();
        let scalar_work = members
            .into_iter()
            .map(|id| self.graph.node(id))
            .filter(|n| n.op.class == Class::Elementwise);
        for value in scalar_work.flat_map(|n| &n.inputs) {
            let mut tree = self.members.clone();
            let fits = self.claim(*value, &mut tree);
            let mut new = tree.difference(&self.members);
            if fits && new.all(|n| self.is_inside(*n, &tree)) {
                self.members = tree;
            }
        }
    }

    /// Adds to `tree` what computes a mask in a strip; whether vectors can carry it.
    fn claim(&self, value: ValueId, tree: &mut BTreeSet<NodeId>) -> bool {
        let ty = self.graph.ty(value);
        let producer = self.graph.producer(value);
        if producer.is_some_and(|n| tree.contains(&n)) {
            return true;
        }
        let is_mask = plane(&ty.shape).is_some_and(|p| p.iter().all(|e| !e.is(1)));
        let narrow = ty.dtype == DType::Bool;
        let of_rows = !is_mask && self.is_of_rows(value, tree);
        if !is_mask && !narrow && !of_rows {
            return true;
        }
        let node = producer.map(|id| (id, self.graph.node(id)));
        match node {
            Some((id, node)) if node.op.class == Class::Reduction && of_rows => {
                tree.insert(id);
                true
            }
            Some((id, node))
                if (node.op.class == Class::Elementwise || node.op.name == "expand")
                    && (is_word(ty.dtype) || narrow) =>
            {
                let mut larger = tree.clone();
                larger.insert(id);
                let fits = node.inputs.iter().all(|v| self.claim(*v, &mut larger));
                if fits {
                    *tree = larger;
                }
                // What vectors cannot compute they can read, if it is a word.
                fits || is_word(ty.dtype)
            }
            _ => is_word(ty.dtype),
        }
    }

    /// Whether a value is made of the greatest, or least, score of each row.
    fn is_of_rows(&self, value: ValueId, tree: &BTreeSet<NodeId>) -> bool {
        let Some(id) = self.graph.producer(value) else {
            return false;
        };
        let node = self.graph.node(id);
        if node.op.class == Class::Elementwise {
            return node.inputs.iter().any(|v| self.is_of_rows(*v, tree));
        }
        let over_keys = || {
            let last = self.graph.ty(node.inputs[0]).rank() as i64 - 1;
            let scores = self.graph.producer(node.inputs[0]);
            node.attrs.flag("keepdims")
                && node.attrs.ints("axes") == [last]
                && scores.is_some_and(|n| tree.contains(&n))
        };
        matches!(node.op.name, "reduce_max" | "reduce_min") && over_keys()
    }
}

/// Whether a node is a softmax along the last axis.
fn is_softmax(graph: &Graph, node: &Node) -> bool {
    node.op.name == "softmax"
        && node.attrs.int("axis") == graph.ty(node.inputs[0]).rank() as i64 - 1
}

/// Whether elements are lanes of vectors in memory.
fn is_word(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

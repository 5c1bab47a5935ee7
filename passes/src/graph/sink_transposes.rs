//! Moves transposes behind what can be computed without them, where fewer copies are left then, or
//! as many behind what convolutions do with their results anyway.
//!
//! Requires: nothing.
//! Ensures: scalar work, padding, slices and concatenations of transposes by one permutation are
//! done before these, together with all that is joined to them so, if values that something else
//! reads are fewer than the transposes that this spares, or as many, and the transposes are of
//! results of convolutions and poolings.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 8, 5, 6]
//!   %1 = const "b" : f32[8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
//!   %2 = transpose(%0) {perm=[0, 2, 3, 1]} "t" : f32[2, 5, 6, 8]
//!   %3 = reduce_max(%2) {axes=[1, 2], keepdims=true} "m" : f32[2, 1, 1, 8]
//!   %4 = sub(%2, %3) {} "s" : f32[2, 5, 6, 8]
//!   %5 = add(%4, %1) {} "a" : f32[2, 5, 6, 8]
//!   %6 = transpose(%5) {perm=[0, 3, 1, 2]} "u" : f32[2, 8, 5, 6]
//!   output "y" = %6
//!   output "z" = %5
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 8, 5, 6]
//!   %1 = reduce_max(%0) {axes=[2, 3], keepdims=true} "m" : f32[2, 8, 1, 1]
//!   %2 = reshape(%1) {shape=[2, 1, 1, 8]} "m" : f32[2, 1, 1, 8]
//!   %3 = reshape(%2) {shape=[2, 8, 1, 1]} "s" : f32[2, 8, 1, 1]
//!   %4 = sub(%0, %3) {} "s" : f32[2, 8, 5, 6]
//!   %5 = const "b" : f32[8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
//!   %6 = reshape(%5) {shape=[8, 1, 1]} "a" : f32[8, 1, 1]
//!   %7 = add(%4, %6) {} "a" : f32[2, 8, 5, 6]
//!   %8 = transpose(%7) {perm=[0, 2, 3, 1]} "a" : f32[2, 5, 6, 8]
//!   output "y" = %7
//!   output "z" = %8
//! }
//! ```
//! Source: the definitions of the ops.
use super::Rewriter;
use super::cancel_transposes::undoes;
use super::fold_factors::is_fixed;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// Scalar work between a convolution and a transpose of it, at most.
const DEPTH: usize = 8;

/// The graph with transposes behind what can be computed without them.
///
/// Errors: never for a valid graph.
pub fn sink_transposes(graph: &Graph) -> Result<Graph, GraphError> {
    let plan = Plan::of(graph);
    Rewriter::run(graph, &mut |cx, node| match plan.group(node) {
        Some(group) if plan.pays(group) => rewrite(&plan, cx, node).map(Some),
        _ => Ok(None),
    })
}

/// What a node is to the transposes above it.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// It is none of those below.
    Other,
    /// A transpose that begins a group.
    Root,
    /// Its result is a transpose of what it computes of the sources.
    Carries,
    /// It reads what is transposed, and its result is a view of the same without.
    Ends,
    /// A transpose that undoes another one.
    Undoes,
}

/// Values that are transposes of what could be computed instead, in groups that are joined.
struct Plan<'g> {
    graph: &'g Graph,
    /// By value: the transpose that it is of something, as a node that begins a group.
    carried: Vec<Option<NodeId>>,
    roles: Vec<Role>,
    /// By node: another one of its group, or itself.
    parents: Vec<usize>,
    groups: Vec<Group>,
}

/// What a group has, at the node that stands for it.
#[derive(Clone, Copy, Default)]
struct Group {
    roots: usize,
    /// Of roots those that are of results of convolutions and poolings.
    images: usize,
    undone: usize,
    /// Values that others read as they are.
    wanted: usize,
    carried: usize,
}

impl<'g> Plan<'g> {
    fn of(graph: &'g Graph) -> Self {
        let mut plan = Plan {
            graph,
            carried: vec![None; graph.values.len()],
            roles: vec![Role::Other; graph.nodes.len()],
            parents: (0..graph.nodes.len()).collect(),
            groups: vec![Group::default(); graph.nodes.len()],
        };
        for (k, node) in graph.nodes.iter().enumerate() {
            plan.visit(NodeId(k as u32), node);
        }
        plan.count();
        plan
    }

    fn perm(&self, root: NodeId) -> &'g [i64] {
        self.graph.node(root).attrs.ints("perm")
    }

    fn root(&self, value: ValueId) -> Option<NodeId> {
        self.carried[value.0 as usize]
    }

    fn find(&self, node: usize) -> usize {
        let mut at = node;
        while self.parents[at] != at {
            at = self.parents[at];
        }
        at
    }

    /// The group of a node that has one.
    fn group(&self, node: &Node) -> Option<usize> {
        let id = self.graph.producer(*node.outputs.first()?)?.0 as usize;
        match self.roles[id] {
            Role::Other => None,
            Role::Root | Role::Carries => Some(self.find(id)),
            Role::Ends | Role::Undoes => {
                let root = node.inputs.iter().find_map(|v| self.root(*v))?;
                Some(self.find(root.0 as usize))
            }
        }
    }

    fn pays(&self, group: usize) -> bool {
        let g = self.groups[group];
        let spared = g.roots + g.undone;
        let work = g.carried > 0 || g.undone > 0;
        let behind = g.wanted == spared && g.images == g.roots;
        work && (g.wanted < spared || behind && g.undone == 0)
    }

    fn visit(&mut self, id: NodeId, node: &'g Node) {
        let [result] = node.outputs[..] else { return };
        let k = id.0 as usize;
        if node.op.name == "transpose" {
            let perm = node.attrs.ints("perm");
            let undone = self.root(node.inputs[0]);
            if undone.is_some_and(|root| undoes(self.perm(root), perm)) {
                self.roles[k] = Role::Undoes;
            } else if !is_fixed(self.graph, node.inputs[0]) {
                self.roles[k] = Role::Root;
                self.carried[result.0 as usize] = Some(id);
            }
            return;
        }
        let Some(root) = node.inputs.iter().find_map(|v| self.root(*v)) else {
            return;
        };
        let perm = self.perm(root);
        if self.ends(node, perm) {
            self.roles[k] = Role::Ends;
        } else if self.carries(node, perm) {
            self.roles[k] = Role::Carries;
            self.carried[result.0 as usize] = Some(root);
            let roots: Vec<NodeId> = node.inputs.iter().filter_map(|v| self.root(*v)).collect();
            for root in roots {
                let [a, b] = [root.0 as usize, k].map(|n| self.find(n));
                self.parents[a.max(b)] = a.min(b);
            }
        }
    }

    /// Whether a reduction is a view of the same one of what is not transposed. Rows that lie
    /// innermost stay so.
    fn ends(&self, node: &Node, perm: &[i64]) -> bool {
        if node.op.class != Class::Reduction || node.attrs.get("axes").is_none() {
            return false;
        }
        let axes = node.attrs.ints("axes");
        let shape = &self.graph.ty(node.inputs[0]).shape;
        let order = |reduced: bool| {
            let axes = (0..perm.len()).filter(move |d| axes.contains(&(*d as i64)) == reduced);
            let many = axes.filter(|d| reduced || !shape[*d].is(1));
            many.map(|d| perm[d]).collect::<Vec<i64>>()
        };
        let last = perm.len() - 1;
        let rows = axes.contains(&(last as i64)) && perm[last] != last as i64;
        shape.len() == perm.len() && !rows && order(true).is_sorted() && order(false).is_sorted()
    }

    /// Whether the result of a node is the transpose of what it would compute of values that are not
    /// transposed.
    fn carries(&self, node: &Node, perm: &[i64]) -> bool {
        let ranks = |v: &ValueId| self.graph.ty(*v).rank();
        let fits = |v: &ValueId| match self.root(*v) {
            Some(root) => self.perm(root) == perm,
            None => is_fixed(self.graph, *v) || keeps_order(&self.graph.ty(*v).shape, perm),
        };
        let whole = ranks(&node.outputs[0]) == perm.len();
        let operands = match (node.op.class, node.op.name) {
            (Class::Elementwise, _) => &node.inputs[..],
            (_, "pad" | "slice") => &node.inputs[..1],
            (_, "concat") if node.inputs.iter().all(|v| self.root(*v).is_some()) => {
                &node.inputs[..]
            }
            _ => return false,
        };
        let narrow = |v: &ValueId| ranks(v) <= perm.len();
        whole && operands.iter().all(|v| narrow(v) && fits(v))
    }

    fn count(&mut self) {
        let uses = self.graph.uses();
        for (k, node) in self.graph.nodes.iter().enumerate() {
            let Some(group) = self.group(node) else {
                continue;
            };
            let role = self.roles[k];
            let image = role == Role::Root && is_image(self.graph, node.inputs[0]);
            let counts = &mut self.groups[group];
            counts.roots += usize::from(role == Role::Root);
            counts.images += usize::from(image);
            counts.undone += usize::from(role == Role::Undoes);
            counts.carried += usize::from(role == Role::Carries);
        }
        for (k, users) in uses.iter().enumerate() {
            let value = ValueId(k as u32);
            let Some(root) = self.root(value) else {
                continue;
            };
            let reads = |n: &NodeId| {
                let role = self.roles[n.0 as usize];
                matches!(role, Role::Other | Role::Root)
            };
            let wanted = self.graph.outputs.contains(&value) || users.iter().any(reads);
            let group = self.find(root.0 as usize);
            self.groups[group].wanted += usize::from(wanted);
        }
    }
}

/// Whether a convolution or a pooling computes a value, with scalar work behind it perhaps.
pub(super) fn is_image(graph: &Graph, value: ValueId) -> bool {
    let mut at = value;
    for _ in 0..DEPTH {
        let Some(id) = graph.producer(at) else {
            return false;
        };
        let node = graph.node(id);
        match node.op.class {
            Class::Contraction => return node.op.name.starts_with("conv"),
            Class::Reduction => return node.attrs.get("axes").is_none(),
            Class::Elementwise => {}
            _ => return false,
        }
        let shape = &graph.ty(value).shape;
        match node.inputs.iter().find(|v| graph.ty(**v).shape == *shape) {
            Some(v) => at = *v,
            None => return false,
        }
    }
    false
}

/// Whether the axes of a shape that repeats along all others come in the same order where a
/// transpose is undone.
fn keeps_order(shape: &[Expr], perm: &[i64]) -> bool {
    let missing = perm.len() - shape.len().min(perm.len());
    let many = (missing..perm.len()).filter(|d| !shape[d - missing].is(1));
    many.map(|d| perm[d]).is_sorted()
}

/// What a node of a group that pays is.
fn rewrite(
    plan: &Plan<'_>,
    cx: &mut Rewriter<'_>,
    node: &Node,
) -> Result<Vec<ValueId>, GraphError> {
    let source = |cx: &Rewriter<'_>, v: ValueId| {
        let found = cx.producer(v, "transpose").map(|n| n.inputs[0]);
        found.expect("invariant: what a group has is transposed last")
    };
    let id = plan.graph.producer(node.outputs[0]);
    let role = id.map_or(Role::Other, |id| plan.roles[id.0 as usize]);
    if role == Role::Root {
        let x = cx.get(node.inputs[0]);
        let perm = node.attrs.clone();
        return Ok(vec![cx.add("transpose", &node.name, &[x], perm)?]);
    }
    let roots = node.inputs.iter().find_map(|v| plan.root(*v));
    let perm = plan.perm(roots.expect("invariant: the group has a transpose above"));
    let mut operands = Vec::new();
    for v in &node.inputs {
        let new = cx.get(*v);
        operands.push(match plan.root(*v) {
            Some(_) => source(cx, new),
            None if node.op.class == Class::Elementwise => before(cx, new, perm, &node.name)?,
            None => new,
        });
    }
    if role == Role::Undoes {
        return Ok(vec![operands[0]]);
    }
    let attrs = moved(node, perm);
    let y = cx.new.add_one(node.op, &node.name, &operands, attrs)?;
    let to = cx.old.ty(node.outputs[0]).shape.clone();
    if role == Role::Ends {
        return Ok(vec![cx.reshape(y, &to, &node.name)?]);
    }
    let attrs = Attrs::new().with("perm", perm.to_vec());
    Ok(vec![cx.add("transpose", &node.name, &[y], attrs)?])
}

/// The attributes of a node for what is not transposed.
fn moved(node: &Node, perm: &[i64]) -> Attrs {
    let attrs = node.attrs.clone();
    let axes = |of: &[i64]| of.iter().map(|a| perm[*a as usize]).collect::<Vec<i64>>();
    let dims = |attrs: Attrs, name: &'static str| {
        let mut found = node.attrs.dims(name).to_vec();
        for (d, extent) in node.attrs.dims(name).iter().enumerate() {
            found[perm[d] as usize] = extent.clone();
        }
        attrs.with(name, found)
    };
    match node.op.name {
        "pad" => dims(dims(attrs, "before"), "after"),
        "slice" => {
            let mut steps = node.attrs.ints("steps").to_vec();
            for (d, step) in node.attrs.ints("steps").iter().enumerate() {
                steps[perm[d] as usize] = *step;
            }
            dims(dims(attrs, "starts"), "sizes").with("steps", steps)
        }
        "concat" => attrs.with("axis", perm[node.attrs.int("axis") as usize]),
        _ if node.op.class == Class::Reduction => {
            let axes = axes(node.attrs.ints("axes"));
            attrs.with("axes", axes)
        }
        _ => attrs,
    }
}

/// An operand that is not transposed, or that repeats, as it is before a transpose.
fn before(
    cx: &mut Rewriter<'_>,
    value: ValueId,
    perm: &[i64],
    label: &str,
) -> Result<ValueId, GraphError> {
    let shape = cx.ty(value).shape.clone();
    let whole = [vec![Expr::from(1); perm.len() - shape.len()], shape].concat();
    let back = inverse(perm);
    if keeps_order(&whole, perm) {
        let to: Vec<Expr> = back.iter().map(|d| whole[*d as usize].clone()).collect();
        let ones = to.iter().take_while(|d| d.is(1)).count();
        return cx.reshape(value, &to[ones..], label);
    }
    let value = cx.reshape(value, &whole, label)?;
    let attrs = Attrs::new().with("perm", back);
    cx.add("transpose", label, &[value], attrs)
}

fn inverse(perm: &[i64]) -> Vec<i64> {
    let mut back = vec![0; perm.len()];
    for (k, p) in perm.iter().enumerate() {
        back[*p as usize] = k as i64;
    }
    back
}

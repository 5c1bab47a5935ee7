//! From graph nodes to a naive kernel: definitions are composed by asking for values at indices.
//!
//! A pointwise definition says what one output element is, in terms of operand elements at
//! indices of their own. Asking for an operand that belongs to the same task recurses into its
//! definition: that is all there is to fusion. What is asked for twice at the same index is
//! computed once, and each value is computed in the outermost loop that binds its index: the
//! statistics of a row land outside the loop over the row.
mod rows;
mod streamed;
mod strips;
mod tiled;

pub use rows::{ImageRows, define_image_rows};
pub use streamed::{Part, Staged, Streamed, define_streamed};
pub use tiled::{Tiled, define_tiled};

use crate::dtype::DType;
use crate::expr::{Expr, Ranges, Var};
use crate::graph::{Graph, Node, NodeId, TensorType, ValueId};
use crate::loops::{
    BinaryOp, Buffer, BufferId, Cond, Const, For, Kernel, Layout, Mark, Reduction, Role, Scalar,
    Scope, Stmt,
};
use crate::ops::{Class, Lower};
use std::collections::{HashMap, HashSet};

/// A place in the model that a run-time check names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The node.
    pub node: String,
    /// What is checked, such as "index of axis 0".
    pub what: String,
}

/// A task in loops: a kernel and what its parameters are.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The naive kernel.
    pub kernel: Kernel,
    /// The values that its input parameters stand for, in order.
    pub inputs: Vec<ValueId>,
    /// The values that its output parameters stand for, in order.
    pub outputs: Vec<ValueId>,
    /// What the sites of its checks name.
    pub sites: Vec<Site>,
}

enum Frame {
    Root,
    Loop(Box<For>),
    Check {
        var: Var,
        value: Scalar,
        extent: Expr,
        site: u32,
    },
    Guard,
}

/// The node, which of its row values, and the index of the row.
type RowKey = (NodeId, u32, Vec<Expr>);

struct Scoped {
    /// Tells open scopes apart, however many scopes are opened below them later.
    id: u32,
    frame: Frame,
    stmts: Vec<Stmt>,
    memo: HashMap<(ValueId, Vec<Expr>), Scalar>,
    rows: HashMap<RowKey, Vec<Scalar>>,
}

/// One iteration of a tuple reduction: the next state from the loop variable and the state.
pub type Step<'g, 'f> = dyn FnMut(&mut Define<'g>, &Expr, &[Scalar]) -> Vec<Scalar> + 'f;

/// Joins two partial states of a tuple reduction.
pub type Combine<'f> = dyn Fn(&[Scalar], &[Scalar]) -> Vec<Scalar> + 'f;

/// Composes the definition of one task.
pub struct Define<'g> {
    /// The graph that the task is part of.
    pub graph: &'g Graph,
    kernel: Kernel,
    scopes: Vec<Scoped>,
    opened: u32,
    params: HashMap<ValueId, BufferId>,
    members: &'g HashSet<NodeId>,
    inputs: Vec<ValueId>,
    outputs: Vec<(ValueId, BufferId)>,
    ranges: Ranges,
    sites: Vec<Site>,
    /// Values of which a part lies in scratch memory.
    kept: HashMap<ValueId, strips::Kept>,
}

/// Defines the task that computes the results of `root`, with the nodes of `members` (which
/// include `root`) computed inside.
pub fn define_task(graph: &Graph, root: NodeId, members: &HashSet<NodeId>) -> Definition {
    let mut cx = Define::new(graph, members);
    cx.kernel.name = task_name(graph, root, members);
    match graph.node(root).op.lower {
        Lower::Pointwise(_) => {
            let order = loop_order(graph, root, members);
            for k in 0..graph.node(root).outputs.len() {
                cx.define_output(root, k, &order);
            }
        }
        Lower::Kernel(define) => {
            graph.node(root).outputs.iter().for_each(|v| {
                cx.output_buffer(*v);
            });
            define(&mut cx, root);
        }
        Lower::View | Lower::Plan => {
            panic!("invariant: `{}` is not a kernel", graph.node(root).op.name)
        }
    }
    cx.finish()
}

/// The ops of the task in order, such as `conv_add_max`.
fn task_name(graph: &Graph, root: NodeId, members: &HashSet<NodeId>) -> String {
    first_ops(graph, members.iter().copied().chain([root]), 6)
}

/// The first ops of nodes, so many at most, in order.
fn first_ops(graph: &Graph, nodes: impl Iterator<Item = NodeId>, most: usize) -> String {
    let mut ids: Vec<NodeId> = nodes.collect();
    ids.sort();
    ids.dedup();
    let names = ids.iter().map(|n| graph.node(*n).op.name).take(most);
    names.collect::<Vec<_>>().join("_")
}

/// Dimensions of the root in loop order: those that rows run along come last.
fn loop_order(graph: &Graph, root: NodeId, members: &HashSet<NodeId>) -> Vec<usize> {
    let rank = graph.ty(graph.node(root).outputs[0]).rank();
    let mut rows: HashSet<usize> = HashSet::new();
    for id in members {
        let node = graph.node(*id);
        if let (Some(axes), Some(operand)) = (node.op.row_axes, node.inputs.first())
            && graph.ty(*operand).rank() == rank
        {
            rows.extend(axes(&node.attrs, rank));
        }
    }
    let (inner, outer): (Vec<usize>, Vec<usize>) = (0..rank).partition(|d| rows.contains(d));
    [outer, inner].concat()
}

impl<'g> Define<'g> {
    fn new(graph: &'g Graph, members: &'g HashSet<NodeId>) -> Self {
        let kernel = Kernel {
            name: String::new(),
            sizes: graph.symbols.keys().cloned().collect(),
            size_bounds: graph.symbols.values().map(|s| (s.min, s.max)).collect(),
            buffers: vec![],
            body: vec![],
            vars: 0,
        };
        let root = Scoped {
            id: 0,
            frame: Frame::Root,
            stmts: vec![],
            memo: HashMap::new(),
            rows: HashMap::new(),
        };
        Define {
            graph,
            kernel,
            scopes: vec![root],
            opened: 0,
            params: HashMap::new(),
            members,
            inputs: vec![],
            outputs: vec![],
            ranges: graph.ranges(),
            sites: vec![],
            kept: HashMap::new(),
        }
    }

    fn define_output(&mut self, root: NodeId, k: usize, order: &[usize]) {
        let value = self.graph.node(root).outputs[k];
        let out = self.output_buffer(value);
        let shape = self.graph.ty(value).shape.clone();
        let extents: Vec<Expr> = order.iter().map(|d| shape[*d].clone()).collect();
        self.nest(&extents, Role::Space, &mut |cx, vars| {
            let mut index = vec![Expr::from(0); shape.len()];
            order
                .iter()
                .zip(vars)
                .for_each(|(d, v)| index[*d] = v.clone());
            let result = cx.node_value(root, k, &index);
            cx.store(out, index, result);
        });
    }

    fn finish(mut self) -> Definition {
        while self.scopes.len() > 1 {
            self.close_one();
        }
        let root = self
            .scopes
            .pop()
            .expect("invariant: the root scope is never closed");
        self.kernel.body = root.stmts;
        let outputs = self.outputs.iter().map(|(v, _)| *v).collect();
        Definition {
            kernel: self.kernel,
            inputs: self.inputs,
            outputs,
            sites: self.sites,
        }
    }

    /// The node with an id.
    pub fn node(&self, id: NodeId) -> &'g Node {
        self.graph.node(id)
    }

    /// The type of operand `k`.
    pub fn operand_type(&self, node: NodeId, k: usize) -> &'g TensorType {
        self.graph.ty(self.graph.node(node).inputs[k])
    }

    /// The type of result `k`.
    pub fn result_type(&self, node: NodeId, k: usize) -> &'g TensorType {
        self.graph.ty(self.graph.node(node).outputs[k])
    }

    /// What is known of variables and sizes here.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// The element of operand `k` at an index.
    pub fn operand(&mut self, node: NodeId, k: usize, index: &[Expr]) -> Scalar {
        self.value(self.graph.node(node).inputs[k], index)
    }

    /// The element of operand `k` at the index of a result that it broadcasts to.
    pub fn broadcast_operand(&mut self, node: NodeId, k: usize, index: &[Expr]) -> Scalar {
        let shape = &self.operand_type(node, k).shape;
        let skip = index.len() - shape.len();
        let own: Vec<Expr> = shape
            .iter()
            .zip(&index[skip..])
            .map(|(extent, i)| {
                if extent.is(1) {
                    Expr::from(0)
                } else {
                    i.clone()
                }
            })
            .collect();
        self.operand(node, k, &own)
    }

    /// The element of a value at an index: loaded if the value lies in memory, else computed by
    /// the definition of its node.
    pub fn value(&mut self, value: ValueId, index: &[Expr]) -> Scalar {
        let index: Vec<Expr> = index.iter().map(|e| e.simplify(&self.ranges)).collect();
        if let Some(c) = self.constant_element(value, &index) {
            return Scalar::Const(c);
        }
        if let Some(kept) = self.kept.get(&value) {
            let (buffer, place) = kept.place(&index);
            let place = place.iter().map(|e| e.simplify(&self.ranges)).collect();
            return Scalar::load(buffer, place);
        }
        match self.graph.producer(value) {
            Some(node) if self.members.contains(&node) => {
                let k = self
                    .graph
                    .node(node)
                    .outputs
                    .iter()
                    .position(|v| *v == value);
                self.member_value(
                    value,
                    node,
                    k.expect("invariant: a producer lists its results"),
                    index,
                )
            }
            _ => {
                let buffer = self.input_buffer(value);
                Scalar::load(buffer, index)
            }
        }
    }

    /// The element of a constant whose elements are all the same number.
    fn constant_element(&self, value: ValueId, _index: &[Expr]) -> Option<Const> {
        let tensor = self.graph.constant(value)?;
        if tensor.count() != 1 {
            return None;
        }
        let mut bytes = [0u8; 8];
        bytes[..tensor.data.len()].copy_from_slice(&tensor.data);
        Some(Const {
            dtype: tensor.dtype,
            bits: u64::from_le_bytes(bytes),
        })
    }

    fn member_value(&mut self, value: ValueId, node: NodeId, k: usize, index: Vec<Expr>) -> Scalar {
        let key = (value, index);
        if let Some(known) = self.scopes.iter().rev().find_map(|s| s.memo.get(&key)) {
            return known.clone();
        }
        let depth = self.scope_of(&key.1);
        let inner = self.scopes.split_off(depth + 1);
        let result = self.node_value(node, k, &key.1);
        let result = match self.is_factor(key.0, &result) {
            true => result,
            false => self.bind(result),
        };
        self.top().memo.insert(key, result.clone());
        self.scopes.extend(inner);
        result
    }

    /// Whether a value is a half as `f32` that only a contraction reads: its loops say then what is
    /// multiplied.
    fn is_factor(&self, value: ValueId, result: &Scalar) -> bool {
        let Scalar::Cast(DType::F32, half) = result else {
            return false;
        };
        let loaded = matches!(**half, Scalar::Load(..)) && self.dtype_of(half).is_half();
        let nodes = self.members.iter().map(|n| self.graph.node(*n));
        let mut readers = nodes.filter(|n| n.inputs.contains(&value));
        loaded && readers.all(|n| n.op.class == Class::Contraction)
    }

    /// Values that a definition needs for a whole row of `extent` elements, such as its maximum: computed
    /// once, in the outermost loop that binds `index`, by what reads elements in loops over the row only.
    /// `tag` tells apart what one node asks for.
    pub fn row_value(
        &mut self,
        (node, tag): (NodeId, u32),
        (index, extent): (&[Expr], &Expr),
        compute: &mut dyn FnMut(&mut Self) -> Vec<Scalar>,
    ) -> Vec<Scalar> {
        let index: Vec<Expr> = index.iter().map(|e| e.simplify(&self.ranges)).collect();
        let key = (node, tag, index);
        if let Some(known) = self.scopes.iter().rev().find_map(|s| s.rows.get(&key)) {
            return known.clone();
        }
        let depth = self.scope_of_row(&key.2, Some(extent));
        let inner = self.scopes.split_off(depth + 1);
        let values = compute(self);
        let values: Vec<Scalar> = values.into_iter().map(|v| self.bind(v)).collect();
        self.top().rows.insert(key, values.clone());
        self.scopes.extend(inner);
        values
    }

    fn node_value(&mut self, node: NodeId, k: usize, index: &[Expr]) -> Scalar {
        match self.graph.node(node).op.lower {
            Lower::Pointwise(define) => define(self, node, k, index),
            Lower::View => self.viewed_operand(node, index),
            _ => panic!(
                "invariant: `{}` is never inside a task",
                self.graph.node(node).op.name
            ),
        }
    }

    /// The element of the operand of a view, by its row-major position.
    fn viewed_operand(&mut self, node: NodeId, index: &[Expr]) -> Scalar {
        let to = &self.result_type(node, 0).shape;
        let from = &self.operand_type(node, 0).shape;
        let index = reshaped(index, to, from, &self.ranges);
        self.operand(node, 0, &index)
    }

    /// The innermost scope that an index needs: nothing is moved out of a guard, or out of a loop
    /// that may have no iterations, as what is read there may have no elements either.
    fn scope_of(&self, index: &[Expr]) -> usize {
        self.scope_of_row(index, None)
    }

    /// The innermost scope that an index needs; where all that is read is read in loops of an extent,
    /// these have no iterations where another loop of this extent has none.
    fn scope_of_row(&self, index: &[Expr], extent: Option<&Expr>) -> usize {
        let may_be_empty = |l: &For| {
            let others = l.extent.clone() - Expr::from(1);
            extent != Some(&l.extent) && !self.ranges.proves_non_negative(&others)
        };
        let needs = |scope: &Scoped| match &scope.frame {
            Frame::Root => true,
            Frame::Guard => true,
            Frame::Loop(l) => index.iter().any(|e| e.mentions(l.var)) || may_be_empty(l),
            Frame::Check { var, .. } => index.iter().any(|e| e.mentions(*var)),
        };
        self.scopes
            .iter()
            .rposition(needs)
            .expect("invariant: the root scope is never closed")
    }

    fn top(&mut self) -> &mut Scoped {
        self.scopes
            .last_mut()
            .expect("invariant: the root scope is never closed")
    }

    /// Appends a statement to the current scope.
    pub fn push(&mut self, stmt: Stmt) {
        self.top().stmts.push(stmt);
    }

    /// Stores a value.
    pub fn store(&mut self, buffer: BufferId, index: Vec<Expr>, value: Scalar) {
        let index = index.iter().map(|e| e.simplify(&self.ranges)).collect();
        self.push(Stmt::Store {
            buffer,
            index,
            value,
        });
    }

    /// The value itself if it is a constant, an index or an element, else a register that holds
    /// it: use this for what is needed more than once.
    pub fn bind(&mut self, value: Scalar) -> Scalar {
        if matches!(
            value,
            Scalar::Const(_) | Scalar::Load(..) | Scalar::Index(_)
        ) {
            return value;
        }
        let register = self.register(self.dtype_of(&value));
        self.store(register, vec![], value);
        Scalar::load(register, vec![])
    }

    /// The element type of a scalar.
    pub fn dtype_of(&self, value: &Scalar) -> DType {
        value.dtype(&|b| self.kernel.buffer(b).dtype)
    }

    fn add_buffer(
        &mut self,
        prefix: &str,
        dtype: DType,
        shape: Vec<Expr>,
        scope: Scope,
    ) -> BufferId {
        let name = format!("{prefix}{}", self.kernel.buffers.len());
        let layout = Layout::row_major(shape.len());
        self.kernel.add_buffer(Buffer {
            name,
            dtype,
            shape,
            layout,
            scope,
            prefetch: 0,
            nonzero: vec![],
        })
    }

    /// A new scalar register.
    pub fn register(&mut self, dtype: DType) -> BufferId {
        self.add_buffer("r", dtype, vec![], Scope::Register)
    }

    /// A new scratch buffer of one thread.
    pub fn scratch(&mut self, dtype: DType, shape: Vec<Expr>) -> BufferId {
        self.add_buffer("t", dtype, shape, Scope::Scratch)
    }

    /// The parameter that a value is read from.
    pub fn input_buffer(&mut self, value: ValueId) -> BufferId {
        if let Some(id) = self.params.get(&value) {
            return *id;
        }
        let ty = self.graph.ty(value).clone();
        let id = self.add_buffer("a", ty.dtype, ty.shape, Scope::Input);
        self.params.insert(value, id);
        self.inputs.push(value);
        id
    }

    /// The parameter that a result is written to.
    pub fn output_buffer(&mut self, value: ValueId) -> BufferId {
        if let Some((_, id)) = self.outputs.iter().find(|(v, _)| *v == value) {
            return *id;
        }
        let ty = self.graph.ty(value).clone();
        let id = self.add_buffer("o", ty.dtype, ty.shape, Scope::Output);
        self.outputs.push((value, id));
        id
    }

    fn fresh_var(&mut self, extent: &Expr) -> Var {
        let var = self.kernel.fresh_var();
        self.ranges.bind(var, extent);
        var
    }

    fn open(&mut self, frame: Frame) -> u32 {
        self.opened += 1;
        self.scopes.push(Scoped {
            id: self.opened,
            frame,
            stmts: vec![],
            memo: HashMap::new(),
            rows: HashMap::new(),
        });
        self.opened
    }

    fn open_loop(&mut self, extent: &Expr, role: Role) -> (u32, Var) {
        let extent = extent.simplify(&self.ranges);
        let var = self.fresh_var(&extent);
        let l = For {
            var,
            extent,
            role,
            mark: Mark::Plain,
            reduction: None,
            body: vec![],
        };
        (self.open(Frame::Loop(Box::new(l))), var)
    }

    /// Closes the innermost scope, which is a loop or a check.
    fn close_one(&mut self) {
        let scope = self.scopes.pop().expect("invariant: a scope is open");
        let body = scope.stmts;
        match scope.frame {
            Frame::Loop(mut l) => {
                l.body = body;
                self.push(Stmt::For(l));
            }
            Frame::Check {
                var,
                value,
                extent,
                site,
            } => {
                self.push(Stmt::Check {
                    var,
                    value,
                    extent,
                    site,
                    body,
                });
            }
            Frame::Root | Frame::Guard => panic!("invariant: closed by their openers"),
        }
    }

    /// Closes all scopes inside scope `id`.
    fn close_inside(&mut self, id: u32) {
        while self.top().id != id {
            self.close_one();
        }
    }

    /// Opens a guard, runs `body` in it, and takes its statements.
    fn in_guard(&mut self, body: impl FnOnce(&mut Self)) -> Vec<Stmt> {
        let id = self.open(Frame::Guard);
        body(self);
        self.close_inside(id);
        self.scopes.pop().map(|s| s.stmts).unwrap_or_default()
    }

    /// A loop nest: calls `body` with the variables.
    pub fn nest(&mut self, extents: &[Expr], role: Role, body: &mut dyn FnMut(&mut Self, &[Expr])) {
        let mut outermost = None;
        let mut vars = Vec::new();
        for extent in extents {
            let (id, var) = self.open_loop(extent, role);
            outermost.get_or_insert(id);
            vars.push(Expr::from(var));
        }
        body(self, &vars);
        if let Some(id) = outermost {
            self.close_inside(id);
            self.close_one();
        }
    }

    /// Accumulates `value` over a nest of loops with `op`, starting at `init`.
    pub fn reduce(
        &mut self,
        extents: &[Expr],
        op: BinaryOp,
        init: Const,
        value: &mut dyn FnMut(&mut Self, &[Expr]) -> Scalar,
    ) -> Scalar {
        let acc = self.register(init.dtype);
        self.store(acc, vec![], Scalar::Const(init));
        self.nest(extents, Role::Reduce, &mut |cx, vars| {
            let term = value(cx, vars);
            cx.store(
                acc,
                vec![],
                Scalar::binary(op, Scalar::load(acc, vec![]), term),
            );
        });
        Scalar::load(acc, vec![])
    }

    /// Accumulates a tuple over one loop: `step` gets the loop variable and the state and gives
    /// the next state; `combine` joins two partial states.
    pub fn reduce_tuple(
        &mut self,
        extent: &Expr,
        identity: &[Const],
        step: &mut Step<'g, '_>,
        combine: &Combine<'_>,
    ) -> Vec<Scalar> {
        let registers = |cx: &mut Self| {
            identity
                .iter()
                .map(|c| cx.register(c.dtype))
                .collect::<Vec<_>>()
        };
        let (state, other, next) = (registers(self), registers(self), registers(self));
        let loads = |ids: &[BufferId]| {
            ids.iter()
                .map(|b| Scalar::load(*b, vec![]))
                .collect::<Vec<_>>()
        };
        for (register, c) in state.iter().zip(identity) {
            self.store(*register, vec![], Scalar::Const(*c));
        }
        let (id, var) = self.open_loop(extent, Role::Reduce);
        let values = step(self, &var.into(), &loads(&state));
        for (register, value) in next.iter().zip(values) {
            self.store(*register, vec![], value);
        }
        for (register, from) in state.iter().zip(loads(&next)) {
            self.store(*register, vec![], from);
        }
        let combined = combine(&loads(&state), &loads(&other));
        let reduction = Reduction {
            state: state.clone(),
            other,
            identity: identity.to_vec(),
            combine: combined,
        };
        self.close_inside(id);
        if let Frame::Loop(l) = &mut self.top().frame {
            l.reduction = Some(reduction);
        }
        self.close_one();
        loads(&state)
    }

    /// An index computed from data (`i64`), checked to lie in `0..extent` at run time, in the
    /// outermost loop that binds what the value reads; what is computed after this call inside of
    /// that loop is skipped if the check fails.
    pub fn checked(&mut self, node: NodeId, what: &str, value: Scalar, extent: &Expr) -> Expr {
        let site = self.sites.len() as u32;
        self.sites.push(Site {
            node: self.graph.node(node).name.clone(),
            what: what.into(),
        });
        let var = self.fresh_var(extent);
        let depth = self.scope_of_scalar(&value);
        let inner = self.scopes.split_off(depth + 1);
        self.open(Frame::Check {
            var,
            value,
            extent: extent.clone(),
            site,
        });
        self.scopes.extend(inner);
        var.into()
    }

    /// The innermost scope that a scalar needs: the current one if it reads what the task itself
    /// writes, else that of its indices.
    fn scope_of_scalar(&self, value: &Scalar) -> usize {
        let (mut written, mut index) = (false, Vec::new());
        value.visit(&mut |s| {
            if let Scalar::Load(b, _) = s {
                written |= self.kernel.buffer(*b).scope != Scope::Input;
            }
        });
        value.visit_exprs(&mut |e| index.push(e.clone()));
        if written {
            self.scopes.len() - 1
        } else {
            self.scope_of(&index)
        }
    }

    /// `value` where all `conds` are at least 0, elsewhere `default`; `value` is computed only
    /// there.
    pub fn guarded(
        &mut self,
        conds: &[Expr],
        default: Scalar,
        value: &mut dyn FnMut(&mut Self) -> Scalar,
    ) -> Scalar {
        let conds = conds.iter().flat_map(|c| c.conditions(&self.ranges));
        let conds: Vec<Expr> = conds.collect();
        if conds.is_empty() {
            return value(self);
        }
        let id = self.open(Frame::Guard);
        let inside = value(self);
        if self.top().id == id && self.top().stmts.is_empty() {
            self.scopes.pop();
            return Scalar::Guard(conds, Box::new(inside), Box::new(default));
        }
        if let Some(scope) = self.scopes.last().filter(|s| s.id == id)
            && let Some(element) = chosen(&self.kernel, &scope.stmts, &inside)
        {
            self.scopes.pop();
            return Scalar::Guard(conds, Box::new(element), Box::new(default));
        }
        let result = self.register(self.dtype_of(&default));
        self.store(result, vec![], inside);
        self.close_inside(id);
        let then = self.scopes.pop().map(|s| s.stmts).unwrap_or_default();
        self.store(result, vec![], default);
        self.push(Stmt::If {
            cond: Cond::Affine(conds),
            then,
            otherwise: vec![],
        });
        Scalar::load(result, vec![])
    }

    /// A branch on data.
    pub fn when(&mut self, cond: Scalar, body: &mut dyn FnMut(&mut Self)) {
        let then = self.in_guard(|cx| body(cx));
        self.push(Stmt::If {
            cond: Cond::Scalar(cond),
            then,
            otherwise: vec![],
        });
    }

    /// A loop that runs while a condition over registers holds.
    pub fn repeat_while(&mut self, cond: Scalar, body: &mut dyn FnMut(&mut Self)) {
        let body = self.in_guard(|cx| body(cx));
        self.push(Stmt::While { cond, body });
    }
}

/// The index under shape `to` of what has an index under shape `from`: dimensions that both have
/// first, or last, keep their indices.
fn reshaped(index: &[Expr], from: &[Expr], to: &[Expr], ranges: &Ranges) -> Vec<Expr> {
    let most = from.len().min(to.len());
    let same = |pairs: &mut dyn Iterator<Item = (&Expr, &Expr)>, most: usize| {
        pairs.take(most).take_while(|(a, b)| a == b).count()
    };
    let front = same(&mut from.iter().zip(to), most);
    let back = same(&mut from.iter().rev().zip(to.iter().rev()), most - front);
    let (first, last) = (from.len() - back, to.len() - back);
    let middle = from[front..first].iter().zip(&index[front..first]);
    let flat = middle.fold(Expr::from(0), |at, (d, i)| at * d.clone() + i.clone());
    let inside = unflatten(&flat, &to[front..last], ranges);
    [&index[..front], &inside, &index[first..]].concat()
}

/// The index of a row-major position.
pub fn unflatten(flat: &Expr, shape: &[Expr], ranges: &Ranges) -> Vec<Expr> {
    let mut index = vec![Expr::from(0); shape.len()];
    let mut left = flat.clone();
    for d in (0..shape.len()).rev() {
        let above_is_one = shape[..d].iter().all(|e| e.is(1));
        index[d] = if above_is_one {
            left.clone()
        } else {
            left.rem(shape[d].clone())
        };
        index[d] = index[d].simplify(ranges);
        left = if above_is_one {
            0.into()
        } else {
            left.div(shape[d].clone()).simplify(ranges)
        };
    }
    index
}

/// Operations, elements and constants of a value that lanes may compute in vain.
const CHEAP: usize = 12;

/// What a register holds that a scalar reads, if statements do nothing but compute it, and take so
/// little that lanes for which it is not wanted may compute it, too.
fn chosen(kernel: &Kernel, stmts: &[Stmt], read: &Scalar) -> Option<Scalar> {
    fn cost(s: &Scalar) -> usize {
        match s {
            Scalar::Call(..) => CHEAP + 1,
            _ => s.children().iter().map(|c| cost(c)).sum::<usize>() + 1,
        }
    }
    fn inline(s: &mut Scalar, known: &HashMap<BufferId, Scalar>) {
        if let Scalar::Load(buffer, _) = s
            && let Some(value) = known.get(buffer)
        {
            *s = value.clone();
            return;
        }
        s.children_mut().into_iter().for_each(|c| inline(c, known));
    }
    let mut known = HashMap::new();
    for stmt in stmts {
        let Stmt::Store {
            buffer,
            index,
            value,
        } = stmt
        else {
            return None;
        };
        let mut value = value.clone();
        inline(&mut value, &known);
        let is_register = kernel.buffer(*buffer).scope == Scope::Register && index.is_empty();
        if !is_register || known.contains_key(buffer) || cost(&value) > CHEAP {
            return None;
        }
        known.insert(*buffer, value);
    }
    match read {
        Scalar::Load(from, at) if at.is_empty() => known.remove(from),
        _ => None,
    }
}

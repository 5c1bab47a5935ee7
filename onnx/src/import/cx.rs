//! The state of an import: graphs under construction, names, and errors so far.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use tensmith_ir::dtype::DType;
use tensmith_ir::eval::{Sizes, eval_node};
use tensmith_ir::expr::{Expr, Ranges, Symbol};
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{self, Class};
use tensmith_ir::tensor::Tensor;

use super::registry::find;
use super::row_name::row_name;
use super::value::Val;
use super::{ImportOptions, Imported, ir_tensor, known, prune, refusal};
use crate::error::{OnnxError, Result, UnsupportedItem, quoted};
use crate::model::LoadedModel;
use crate::proto::{GraphProto, NodeProto};

/// Results up to so many elements are computed at import if all operands are constants.
const FOLD_ELEMENTS: usize = 4096;
/// Operands up to so many elements are read for that.
const FOLD_OPERAND_ELEMENTS: usize = 1 << 16;
/// All results computed at import have at most so many elements.
const FOLD_TOTAL: usize = 1 << 24;
/// Nodes that are imported, those of unrolled loops counted each time.
const MAX_NODES: usize = 2_000_000;
/// From so many nodes on, loops are not unrolled.
const MAX_UNROLLED_NODES: usize = 200_000;

/// A graph under construction: the main graph or a subgraph.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) graph: Graph,
    /// Names, innermost scope last.
    pub(crate) scopes: Vec<HashMap<String, Val>>,
    /// Elements of integer tensors, where they are known symbolically.
    pub(crate) known: HashMap<ValueId, Rc<[Expr]>>,
    /// Values of the graph around this one, and the inputs here that stand for them.
    pub(crate) captures: Vec<(ValueId, ValueId)>,
    /// Values that carry a name of the model.
    pub(crate) named: HashSet<ValueId>,
}

impl Frame {
    pub(crate) fn new() -> Self {
        Frame {
            scopes: vec![HashMap::new()],
            ..Frame::default()
        }
    }
}

/// A node.
#[derive(Clone)]
pub(crate) struct Here {
    /// How messages name it.
    pub(crate) place: String,
    /// How its rows are named.
    name: String,
    opset: i64,
}

/// The state of an import.
pub(crate) struct Cx<'m> {
    pub(crate) model: &'m LoadedModel,
    pub(crate) options: &'m ImportOptions,
    pub(crate) frames: Vec<Frame>,
    pub(crate) notes: Vec<String>,
    pub(crate) specialised: Vec<(String, Tensor)>,
    /// Nodes that could not be imported.
    problems: Vec<UnsupportedItem>,
    /// Values that size symbols must not exceed, and notes that say why.
    pub(crate) greatest: BTreeMap<String, (i64, String)>,
    /// The node that is being imported.
    pub(crate) here: Here,
    folded: usize,
    /// Whether rows stay rows though their operands are constants.
    unfolded: bool,
    /// Nodes imported so far.
    imported: usize,
    /// Elements computed on demand so far.
    pub(crate) demanded: usize,
}

impl<'m> Cx<'m> {
    pub(crate) fn new(model: &'m LoadedModel, options: &'m ImportOptions) -> Self {
        let mut frame = Frame::new();
        frame.graph.name = model.graph().name.clone();
        Cx {
            model,
            options,
            frames: vec![frame],
            notes: vec![],
            specialised: vec![],
            problems: vec![],
            greatest: BTreeMap::new(),
            here: Here {
                place: "model".into(),
                name: String::new(),
                opset: 0,
            },
            folded: 0,
            unfolded: false,
            imported: 0,
            demanded: 0,
        }
    }

    /// The version of the operator set that gives the node being imported its meaning.
    pub(crate) fn opset(&self) -> i64 {
        self.here.opset
    }

    pub(crate) fn frame(&self) -> &Frame {
        self.frames.last().expect("invariant: the main frame stays")
    }

    pub(crate) fn frame_mut(&mut self) -> &mut Frame {
        (self.frames.last_mut()).expect("invariant: the main frame stays")
    }

    /// An error: the node being imported needs what is not supported.
    pub(crate) fn unsupported(&self, what: impl Into<String>) -> OnnxError {
        OnnxError::unsupported(self.here.place.clone(), what)
    }

    /// An error: nothing proves that operands of these shapes fit the node being imported.
    pub(crate) fn unproved(&self, shapes: &[&[Expr]], what: String) -> OnnxError {
        let mut dims = shapes.iter().copied().flatten();
        self.unsupported(match dims.any(|e| !e.symbols().is_empty()) {
            true => what + "; sizes that `--dim` binds need no proof",
            false => what,
        })
    }

    /// An error: the node being imported breaks the operator's rules.
    pub(crate) fn invalid(&self, problem: impl Into<String>) -> OnnxError {
        OnnxError::invalid(self.here.place.clone(), problem)
    }

    // Walking

    /// Imports nodes in order into the innermost graph. What is unsupported is recorded, and the
    /// walk goes on without it.
    pub(crate) fn import_nodes(&mut self, nodes: &'m [NodeProto]) -> Result<()> {
        for node in nodes {
            let here = Here {
                place: node.label(),
                name: row_name(node),
                opset: self.model.opset_of(node)?,
            };
            let outer = std::mem::replace(&mut self.here, here);
            let results = match self.import_node(node) {
                Err(OnnxError::Unsupported { items }) => {
                    self.problems.extend(items);
                    vec![Val::Failed; node.output.len()]
                }
                other => other?,
            };
            self.bind_results(node, results)?;
            self.here = outer;
        }
        Ok(())
    }

    fn import_node(&mut self, node: &'m NodeProto) -> Result<Vec<Val>> {
        if crate::inline::domain_of(&node.domain).is_empty() && self.here.opset < 6 {
            let what = format!("operator set {}: the least supported is 7", self.here.opset);
            return Err(self.unsupported(what));
        }
        let row = find(node).ok_or_else(|| self.unsupported("no importer"))?;
        let operands = node.input.iter().filter(|name| !name.is_empty());
        for name in operands {
            if let Some(Val::Failed) = self.lookup(name) {
                return Ok(vec![Val::Failed; node.output.len()]);
            }
        }
        self.imported += 1;
        if self.imported > MAX_NODES {
            return Err(OnnxError::Limit {
                place: self.here.place.clone(),
                what: "nodes of unrolled loops",
                found: self.imported as u64,
                limit: MAX_NODES as u64,
                field: "nodes",
            });
        }
        let results = (row.import)(self, node)?;
        let missing = (results.len()..node.output.len()).find_map(|k| node.result(k));
        match missing {
            Some(name) => {
                let what = format!("result {} is not supported", quoted(name));
                Err(self.unsupported(what))
            }
            None => Ok(results),
        }
    }

    fn bind_results(&mut self, node: &NodeProto, results: Vec<Val>) -> Result<()> {
        for (name, val) in node.output.iter().zip(results) {
            if name.is_empty() {
                continue;
            }
            if let Val::Tensor(id) = val {
                self.check_size(id)?;
                let frame = self.frame_mut();
                if frame.named.insert(id) {
                    frame.graph.values[id.0 as usize].name = name.clone();
                }
            }
            self.bind(name, val);
        }
        Ok(())
    }

    fn check_size(&self, id: ValueId) -> Result<()> {
        let (count, limit) = (self.ty(id).count(), self.options.tensor_bytes);
        let bytes = count.as_const().unwrap_or(0).max(0) as u64;
        let bytes = bytes.saturating_mul(self.dtype(id).bytes() as u64);
        if bytes <= limit {
            return Ok(());
        }
        Err(OnnxError::Limit {
            place: self.here.place.clone(),
            what: "bytes of a computed tensor",
            found: bytes,
            limit,
            field: "tensor_bytes",
        })
    }

    /// Gives a name a meaning in the innermost scope.
    pub(crate) fn bind(&mut self, name: &str, val: Val) {
        let scope = self.frame_mut().scopes.last_mut();
        let scope = scope.expect("invariant: a frame has a scope");
        scope.insert(name.into(), val);
    }

    /// What a name stands for, captured from around if need be.
    pub(crate) fn lookup(&mut self, name: &str) -> Option<Val> {
        self.lookup_at(self.frames.len() - 1, name)
    }

    fn lookup_at(&mut self, level: usize, name: &str) -> Option<Val> {
        let scopes = self.frames[level].scopes.iter().rev();
        if let Some(val) = scopes.filter_map(|scope| scope.get(name)).next() {
            return Some(val.clone());
        }
        let outer = self.lookup_at(level.checked_sub(1)?, name)?;
        let val = match outer {
            Val::Tensor(id) => Val::Tensor(self.capture(level, id)),
            Val::Sequence(ids) => {
                Val::Sequence(ids.into_iter().map(|id| self.capture(level, id)).collect())
            }
            other => other,
        };
        self.frames[level].scopes[0].insert(name.into(), val.clone());
        Some(val)
    }

    /// The value in graph `level` that stands for a value of the graph around it.
    pub(crate) fn capture(&mut self, level: usize, outer: ValueId) -> ValueId {
        let (above, below) = self.frames.split_at_mut(level);
        let (from, to) = (&above[level - 1], &mut below[0]);
        if let Some((_, inner)) = to.captures.iter().find(|(id, _)| *id == outer) {
            return *inner;
        }
        let value = from.graph.value(outer);
        if let Some(tensor) = from.graph.constant(outer) {
            return to.graph.add_constant(&value.name, tensor.clone());
        }
        let inner = to.graph.add_input(&value.name, value.ty.clone());
        to.captures.push((outer, inner));
        if let Some(known) = from.known.get(&outer) {
            to.known.insert(inner, known.clone());
        }
        inner
    }

    /// Adds the constants of a graph.
    pub(crate) fn add_initializers(&mut self, graph: &GraphProto) -> Result<()> {
        for tensor in &graph.initializer {
            let place = format!("initializer {}", quoted(&tensor.name));
            if tensor.data_type == crate::ElemType::String.number() {
                self.problem(&place, "strings are not supported".into());
                self.bind(&tensor.name, Val::Failed);
                continue;
            }
            let data = self.model.tensor(tensor, &place)?;
            self.bind_constant(&tensor.name, ir_tensor(&data, &place))?;
        }
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |v| &v.name);
            let place = format!("sparse initializer {}", quoted(name));
            let data = self.model.dense(sparse, &place)?;
            self.bind_constant(name, ir_tensor(&data, &place))?;
        }
        Ok(())
    }

    fn bind_constant(&mut self, name: &str, tensor: Result<Tensor>) -> Result<()> {
        let val = match tensor {
            Ok(tensor) => {
                let frame = self.frame_mut();
                let id = frame.graph.add_constant(name, tensor);
                frame.named.insert(id);
                Val::Tensor(id)
            }
            Err(OnnxError::Unsupported { items }) => {
                self.problems.extend(items);
                Val::Failed
            }
            Err(other) => return Err(other),
        };
        self.bind(name, val);
        Ok(())
    }

    pub(crate) fn problem(&mut self, place: &str, what: String) {
        self.problems.push(UnsupportedItem {
            place: place.into(),
            what,
        });
    }

    /// How many problems were recorded so far.
    pub(crate) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Takes back the problems recorded after the first `count`.
    pub(crate) fn take_problems(&mut self, count: usize) -> Vec<UnsupportedItem> {
        self.problems.split_off(count)
    }

    /// Whether too many nodes were imported to unroll loops.
    pub(crate) fn is_full(&self) -> bool {
        self.imported > MAX_UNROLLED_NODES
    }

    /// Ends the import of the main graph.
    pub(crate) fn finish(mut self) -> Result<Imported> {
        let proto = self.model.graph();
        for output in &proto.output {
            self.here.place = format!("output {}", quoted(&output.name));
            match self.lookup(&output.name) {
                Some(Val::Tensor(id)) => self.frame_mut().graph.add_output(&output.name, id),
                Some(Val::Failed) => {}
                Some(_) => {
                    let place = self.here.place.clone();
                    self.problem(&place, "sequences and optionals as outputs".into());
                }
                None => return Err(self.invalid("nothing computes it")),
            }
        }
        if !self.problems.is_empty() {
            return Err(OnnxError::Unsupported {
                items: self.problems,
            });
        }
        let frame = self.frames.pop().expect("invariant: the main frame stays");
        let (graph, became) = prune::prune_with(frame.graph);
        // Of several values with one name, the last is what the model calls so; the names of the
        // main graph may stand for values with other names.
        let values = graph.values.iter().enumerate();
        let own = values.map(|(k, v)| (v.name.clone(), ValueId(k as u32)));
        let mut names: BTreeMap<String, ValueId> = own.collect();
        let tensors = frame.scopes.into_iter().flatten();
        names.extend(tensors.filter_map(|(name, val)| match val {
            Val::Tensor(id) => Some((name, became[id.0 as usize]?)),
            _ => None,
        }));
        Ok(Imported {
            graph,
            names,
            notes: self.notes,
            specialised: self.specialised,
        })
    }

    // Operands

    /// Operand `k`, a tensor.
    pub(crate) fn input(&mut self, node: &NodeProto, k: usize) -> Result<ValueId> {
        let name = node.required_operand(k)?;
        match self.lookup(name) {
            Some(Val::Tensor(id)) => Ok(id),
            Some(Val::Nothing) => Err(self.unsupported(format!("operand {k} is empty"))),
            Some(_) => Err(self.unsupported(format!("operand {k} is a sequence"))),
            None => Err(self.invalid(format!("operand {} is not defined", quoted(name)))),
        }
    }

    /// Operand `k`, a tensor, if it is given.
    pub(crate) fn optional(&mut self, node: &NodeProto, k: usize) -> Result<Option<ValueId>> {
        match node.operand(k) {
            Some(_) => self.input(node, k).map(Some),
            None => Ok(None),
        }
    }

    /// All operands, tensors.
    pub(crate) fn inputs(&mut self, node: &NodeProto) -> Result<Vec<ValueId>> {
        (0..node.input.len()).map(|k| self.input(node, k)).collect()
    }

    // Types

    /// The type of a value.
    pub(crate) fn ty(&self, id: ValueId) -> &TensorType {
        self.frame().graph.ty(id)
    }

    /// The extents of a value.
    pub(crate) fn shape(&self, id: ValueId) -> Vec<Expr> {
        self.ty(id).shape.clone()
    }

    /// The number of axes of a value.
    pub(crate) fn rank(&self, id: ValueId) -> usize {
        self.ty(id).rank()
    }

    /// The element type of a value.
    pub(crate) fn dtype(&self, id: ValueId) -> DType {
        self.ty(id).dtype
    }

    /// What is known of the size symbols.
    pub(crate) fn ranges(&self) -> Ranges {
        self.frames[0].graph.ranges()
    }

    /// Excludes values of a size symbol below `least`, which the node being imported cannot take.
    ///
    /// Errors: `Invalid` if no value is left.
    pub(crate) fn at_least(&mut self, symbol: &Symbol, least: i64) -> Result<()> {
        let info = self.frames[0].graph.symbols.get_mut(symbol);
        let info = info.expect("invariant: symbols are dimensions of inputs");
        if info.max < least {
            let max = info.max;
            let what = format!(
                "needs `{}` to be at least {least}, but {max} is its greatest",
                symbol.name()
            );
            return Err(self.invalid(what));
        }
        if info.min < least {
            info.min = least;
            let place = self.here.place.clone();
            let name = symbol.name();
            self.notes.push(format!(
                "dimension {name} is at least {least}, which {place} needs"
            ));
        }
        Ok(())
    }

    /// Remembers that the node being imported cannot take values of a size symbol above `most`.
    pub(crate) fn at_most(&mut self, symbol: &Symbol, most: i64) {
        let place = &self.here.place;
        let name = symbol.name();
        let note = format!("dimension {name} is at most {most}, which {place} needs");
        let known = self
            .greatest
            .entry(name.into())
            .or_insert((most, note.clone()));
        if most < known.0 {
            *known = (most, note);
        }
    }

    /// An axis as a non-negative number below `rank`.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_start)
            .ok()
            .filter(|a| *a < rank)
            .ok_or_else(|| self.invalid(format!("axis {axis} is outside of rank {rank}")))
    }

    /// Axes as sorted non-negative numbers below `rank`.
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut out: Vec<usize> =
            (axes.iter().map(|a| self.axis(*a, rank))).collect::<Result<_>>()?;
        out.sort_unstable();
        match out.windows(2).any(|w| w[0] == w[1]) {
            true => Err(self.invalid(format!("axes {axes:?} name an axis twice"))),
            false => Ok(out),
        }
    }

    // Rows

    /// Adds a row with one result.
    ///
    /// Errors: `Invalid` when operands do not fit the row, whatever sizes there are; `Unsupported`
    /// when there is no such row, or it is not known whether operands fit it.
    pub(crate) fn row(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Result<ValueId> {
        Ok(self.rows(op, inputs, attrs)?[0])
    }

    /// Adds a row and returns its results. Rows of constants are computed if they are small.
    ///
    /// Errors: as [`Cx::row`].
    pub(crate) fn rows(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attrs: Attrs,
    ) -> Result<Vec<ValueId>> {
        self.rows_with_regions(op, inputs, attrs, vec![])
    }

    /// As [`Cx::rows`], with subgraphs.
    pub(crate) fn rows_with_regions(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attrs: Attrs,
        regions: Vec<Graph>,
    ) -> Result<Vec<ValueId>> {
        let Some(op) = ops::find(op) else {
            return Err(self.unsupported(format!("needs the row `{op}`, which is not there")));
        };
        let name = self.here.name.clone();
        let graph = &mut self.frame_mut().graph;
        let values = graph.values.len();
        let added = graph.add_with_regions(op, &name, inputs, attrs.clone(), regions);
        let outputs = match added {
            Ok(outputs) => outputs,
            Err(error) => {
                let what = format!("{}: {}", op.name, error.reason);
                let certain = refusal::is_certain(graph, op, inputs, &attrs);
                if let Some((symbol, most)) = refusal::greatest(graph, op, inputs, &attrs) {
                    self.at_most(&symbol, most);
                }
                return Err(match certain {
                    true => self.invalid(what),
                    false => {
                        let graph = &self.frame().graph;
                        let shapes = inputs.iter().map(|v| &graph.ty(*v).shape[..]);
                        self.unproved(&shapes.collect::<Vec<_>>(), what)
                    }
                });
            }
        };
        let graph = &mut self.frame_mut().graph;
        for (k, id) in outputs.iter().enumerate() {
            graph.values[id.0 as usize].name = match k {
                0 => format!("{name}/{}", op.name),
                _ => format!("{name}/{}.{k}", op.name),
            };
        }
        if op.class == Class::Control {
            return Ok(outputs);
        }
        let results = match self.folded(&outputs) {
            Some(tensors) => tensors,
            None => return Ok(self.follow(outputs)),
        };
        Ok(self.replace_last(values, results))
    }

    /// Takes back the node added last and makes its results constants.
    fn replace_last(&mut self, values: usize, results: Vec<Tensor>) -> Vec<ValueId> {
        let graph = &mut self.frame_mut().graph;
        let names: Vec<String> = (graph.values[values..].iter())
            .map(|v| v.name.clone())
            .collect();
        graph.nodes.pop();
        graph.values.truncate(values);
        names
            .iter()
            .zip(results)
            .map(|(name, t)| graph.add_constant(name, t))
            .collect()
    }

    /// What `f` adds, as rows though their operands may be constants.
    pub(crate) fn without_folding<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.unfolded, true);
        let result = f(self);
        self.unfolded = outer;
        result
    }

    /// The results of the node added last, if all operands are constants and all is small.
    fn folded(&mut self, outputs: &[ValueId]) -> Option<Vec<Tensor>> {
        let graph = &self.frame().graph;
        let node = graph.nodes.last().filter(|_| !self.unfolded)?;
        let operands: Vec<&Tensor> = node
            .inputs
            .iter()
            .map(|v| {
                graph
                    .constant(*v)
                    .filter(|t| t.count() <= FOLD_OPERAND_ELEMENTS)
            })
            .collect::<Option<_>>()?;
        let mut count = 0usize;
        for id in outputs {
            let shape = graph.ty(*id).static_shape()?;
            let elements = (shape.iter()).try_fold(1usize, |a, d| a.checked_mul(*d))?;
            count = count.checked_add(elements)?;
        }
        if count > FOLD_ELEMENTS || self.folded + count > FOLD_TOTAL {
            return None;
        }
        let results = eval_node(graph, node, &operands, &Sizes::new()).ok()?;
        self.folded += count;
        Some(results)
    }

    /// Follows integer elements through the node added last.
    fn follow(&mut self, outputs: Vec<ValueId>) -> Vec<ValueId> {
        let ranges = self.ranges();
        let frame = self.frame_mut();
        let Some(values) = known::propagate(&frame.graph, &frame.known, &ranges) else {
            return outputs;
        };
        let out = outputs[0];
        let constants: Option<Vec<i64>> = values.iter().map(Expr::as_const).collect();
        let shape = frame.graph.ty(out).static_shape();
        if let (Some(constants), Some(shape)) = (constants, shape) {
            let dtype = frame.graph.ty(out).dtype;
            let first = out.0 as usize;
            let wide = constants.into_iter().map(i128::from).collect();
            let wide = tensmith_ir::tensor::Wide::Int(wide);
            return self.replace_last(first, vec![Tensor::from_wide(dtype, shape, &wide)]);
        }
        frame.known.insert(out, values.into());
        outputs
    }

    /// Adds a constant.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("{}/constant", self.here.name);
        self.frame_mut().graph.add_constant(&name, tensor)
    }

    /// Adds a scalar constant, rounded or wrapped to the type.
    pub(crate) fn scalar(&mut self, dtype: DType, value: f64) -> ValueId {
        self.constant(Tensor::splat(dtype, vec![], value))
    }

    /// Adds a constant list of `i64`.
    pub(crate) fn list(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::from_i64(vec![values.len()], values))
    }
}

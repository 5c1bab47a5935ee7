//! Operators with subgraphs: branches and loops.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::tensor::{Tensor, Wide};

use super::cx::{Cx, Frame};
use super::prune::{live_values, order_inputs, prune};
use super::registry::{OpImport, onnx};
use super::value::{Val, all};
use crate::error::{OnnxError, Result};
use crate::proto::{GraphProto, NodeProto};

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("If", branch),
    onnx("Loop", repeat),
    onnx("Scan", scan),
    onnx("SequenceMap", sequence_map),
];

/// Iterations of a loop that is unrolled.
const MAX_UNROLL: i64 = 4096;

/// Turns the results of a subgraph into the outputs of its graph.
type Finish<'f, 'm> = &'f mut dyn FnMut(&mut Cx<'m>, Vec<ValueId>) -> Result<Vec<ValueId>>;

/// A subgraph that was imported: closed, and what its last inputs capture.
struct Region {
    graph: Graph,
    captures: Vec<(ValueId, ValueId)>,
}

impl<'m> Cx<'m> {
    /// Imports a subgraph into the innermost graph; its inputs stand for `operands`.
    pub(crate) fn inline(&mut self, body: &'m GraphProto, operands: Vec<Val>) -> Vals {
        self.frame_mut().scopes.push(Default::default());
        for (input, val) in body.input.iter().zip(operands) {
            self.bind(&input.name, val);
        }
        let imported = self.import_body(body);
        self.frame_mut().scopes.pop();
        imported
    }

    fn import_body(&mut self, body: &'m GraphProto) -> Vals {
        self.add_initializers(body)?;
        self.import_nodes(&body.node)?;
        body.output.iter().map(|o| self.meaning(&o.name)).collect()
    }

    /// Imports a subgraph into a graph of its own. `start` adds its inputs and gives their
    /// meanings; what it captures becomes inputs behind them.
    ///
    /// Errors: also `Unsupported`, if something in the subgraph is not.
    fn region(
        &mut self,
        body: &'m GraphProto,
        start: &mut dyn FnMut(&mut Self) -> Vals,
        finish: Finish<'_, 'm>,
    ) -> Result<Region> {
        let mut frame = Frame::new();
        frame.graph.name = body.name.clone();
        frame.graph.symbols = self.frames[0].graph.symbols.clone();
        self.frames.push(frame);
        let built = self.build_region(body, start, finish);
        let frame = self.frames.pop().expect("invariant: pushed above");
        let own = built?;
        Ok(close(frame, own))
    }

    /// Returns the inputs that are not captures.
    fn build_region(
        &mut self,
        body: &'m GraphProto,
        start: &mut dyn FnMut(&mut Self) -> Vals,
        finish: Finish<'_, 'm>,
    ) -> Result<Vec<ValueId>> {
        let operands = start(self)?;
        let own = self.frame().graph.inputs.clone();
        let problems = self.problem_count();
        let results = self.inline(body, operands)?;
        if self.problem_count() > problems {
            let items = self.take_problems(problems);
            return Err(OnnxError::Unsupported { items });
        }
        let mut outputs = Vec::new();
        for val in results {
            match val {
                Val::Tensor(id) => outputs.push(id),
                _ => return Err(self.unsupported("a sequence as a result of a subgraph")),
            }
        }
        for (k, id) in finish(self, outputs)?.into_iter().enumerate() {
            let name = body.output.get(k).map_or("", |o| &o.name[..]);
            self.frame_mut().graph.add_output(name, id);
        }
        let captures = &self.frame().captures;
        let captured = |id: &ValueId| captures.iter().any(|(_, inner)| inner == id);
        Ok(own.into_iter().filter(|id| !captured(id)).collect())
    }

    /// Tries one way, and if that is not supported or not valid another; fails as the first did.
    fn first_of(
        &mut self,
        one: &mut dyn FnMut(&mut Self) -> Vals,
        other: &mut dyn FnMut(&mut Self) -> Result<Option<Vec<Val>>>,
    ) -> Vals {
        let problems = self.problem_count();
        let here = self.here.clone();
        let first = match one(self) {
            Err(e @ (OnnxError::Unsupported { .. } | OnnxError::Invalid { .. })) => e,
            done => return done,
        };
        self.take_problems(problems);
        // What is invalid ends the walk where it is.
        self.here = here;
        match other(self) {
            Ok(Some(vals)) if self.problem_count() == problems => Ok(vals),
            Ok(_) | Err(OnnxError::Unsupported { .. }) => {
                self.take_problems(problems);
                Err(first)
            }
            Err(error) => Err(error),
        }
    }

    fn truth(&mut self, value: bool) -> ValueId {
        let wide = Wide::Int(vec![value.into()]);
        self.constant(Tensor::from_wide(DType::Bool, vec![], &wide))
    }

    /// The number that a value of one element is, without values of inputs.
    fn fixed(&self, id: ValueId) -> Option<i64> {
        let frame = self.frame();
        let values = super::known::values(&frame.graph, &frame.known, id)?;
        match &values[..] {
            [value] => value.as_const(),
            _ => None,
        }
    }

    /// The number that a value of one element is, with values of inputs if need be.
    fn number(&mut self, id: ValueId) -> Option<i64> {
        match &self.known_dims(id)?[..] {
            [value] => value.as_const(),
            _ => None,
        }
    }
}

/// Drops captures that nothing needs; own inputs stay.
fn close(frame: Frame, own: Vec<ValueId>) -> Region {
    let mut graph = frame.graph;
    let live = live_values(&graph);
    let used = |(_, inner): &(ValueId, ValueId)| live[inner.0 as usize];
    let captures: Vec<_> = frame.captures.into_iter().filter(used).collect();
    let inner = captures.iter().map(|(_, inner)| *inner);
    let count = own.len();
    order_inputs(&mut graph, own.into_iter().chain(inner).collect());
    let graph = prune(graph);
    let outer = captures.iter().map(|(outer, _)| *outer);
    let captures = outer.zip(graph.inputs[count..].iter().copied()).collect();
    Region { graph, captures }
}

fn subgraph<'m>(cx: &Cx<'m>, node: &'m NodeProto, name: &str) -> Result<&'m GraphProto> {
    let graph = node.attr_g(name)?;
    graph.ok_or_else(|| cx.invalid(format!("attribute {name} is missing")))
}

fn branch<'m>(cx: &mut Cx<'m>, node: &'m NodeProto) -> Vals {
    let cond = cx.input(node, 0)?;
    let bodies = [
        subgraph(cx, node, "then_branch")?,
        subgraph(cx, node, "else_branch")?,
    ];
    if let Some(taken) = cx.fixed(cond) {
        return cx.inline(bodies[usize::from(taken == 0)], vec![]);
    }
    cx.first_of(
        &mut |cx| branches(cx, cond, bodies),
        &mut |cx| match cx.number(cond) {
            Some(taken) => cx.inline(bodies[usize::from(taken == 0)], vec![]).map(Some),
            None => Ok(None),
        },
    )
}

fn branches<'m>(cx: &mut Cx<'m>, cond: ValueId, bodies: [&'m GraphProto; 2]) -> Vals {
    let mut regions = Vec::new();
    let place = cx.here.place.clone();
    for body in bodies {
        let region = cx.region(body, &mut |_| Ok(vec![]), &mut |_, outputs| Ok(outputs));
        regions.push(region.map_err(|e| if_taken(e, &place))?);
    }
    let mut captures: Vec<ValueId> = Vec::new();
    for (outer, _) in regions.iter().flat_map(|r| &r.captures) {
        if !captures.contains(outer) {
            captures.push(*outer);
        }
    }
    for region in &mut regions {
        let inner = captures.iter().map(|outer| {
            let known = region.captures.iter().find(|(id, _)| id == outer);
            known.map_or_else(
                || {
                    let value = cx.frame().graph.value(*outer);
                    region.graph.add_input(&value.name, value.ty.clone())
                },
                |(_, inner)| *inner,
            )
        });
        let inner = inner.collect();
        order_inputs(&mut region.graph, inner);
    }
    let types = |r: &Region| -> Vec<TensorType> {
        r.graph
            .outputs
            .iter()
            .map(|v| r.graph.ty(*v).clone())
            .collect()
    };
    let (then, other) = (types(&regions[0]), types(&regions[1]));
    if then != other {
        let show = |types: &[TensorType]| {
            let types: Vec<String> = types.iter().map(|t| t.to_string()).collect();
            types.join(", ")
        };
        return Err(cx.unsupported(format!(
            "its branches give different types ({} and {}), and its condition is not known at \
             compile time: bind it (`--inputs`)",
            show(&then),
            show(&other)
        )));
    }
    let cond = cx.reshape(cond, vec![])?;
    let operands = [vec![cond], captures].concat();
    let regions = regions.into_iter().map(|r| r.graph).collect();
    let results = cx.rows_with_regions("if", &operands, Attrs::new(), regions)?;
    Ok(all(results))
}

/// What is invalid in a branch may be so for the shapes of the other one only.
fn if_taken(error: OnnxError, branch: &str) -> OnnxError {
    match error {
        OnnxError::Invalid {
            place,
            problem,
            help,
        } => OnnxError::Invalid {
            place,
            problem,
            help: format!(
                "if {branch} does not take this way, bind its condition (`--inputs`); else {help}"
            ),
        },
        other => other,
    }
}

/// A loop, as the operator's operands give it.
struct Repeat<'m> {
    trip: Option<ValueId>,
    cond: Option<ValueId>,
    body: &'m GraphProto,
    carried: Vec<Val>,
    scans: usize,
}

fn repeat<'m>(cx: &mut Cx<'m>, node: &'m NodeProto) -> Vals {
    let body = subgraph(cx, node, "body")?;
    let (trip, cond) = (cx.optional(node, 0)?, cx.optional(node, 1)?);
    let carried: Vec<Val> = (node.input.iter().skip(2))
        .map(|name| cx.meaning(name))
        .collect::<Result<_>>()?;
    let scans = body.output.len().checked_sub(1 + carried.len());
    let fits = body.input.len() == 2 + carried.len();
    let Some(scans) = scans.filter(|_| fits) else {
        return Err(cx.invalid("the body does not take or give what is carried"));
    };
    let parts = Repeat {
        trip,
        cond,
        body,
        carried,
        scans,
    };
    cx.first_of(&mut |cx| looped(cx, &parts), &mut |cx| unrolled(cx, &parts))
}

fn looped<'m>(cx: &mut Cx<'m>, parts: &Repeat<'m>) -> Vals {
    let mut carried = Vec::new();
    for val in &parts.carried {
        match val {
            Val::Tensor(id) => carried.push(*id),
            _ => return Err(cx.unsupported("a sequence that a loop carries")),
        }
    }
    let mut trip = match parts.trip {
        Some(trip) => cx.reshape(trip, vec![])?,
        None => cx.constant(Tensor::from_i64(vec![], &[i64::MAX])),
    };
    let cond = match parts.cond {
        Some(cond) => cx.reshape(cond, vec![])?,
        None => cx.truth(true),
    };
    if parts.scans > 0 && cx.fixed(trip).is_none() {
        let Some(n) = cx.number(trip) else {
            return Err(cx.unsupported(
                "a loop that collects results needs a trip count known at compile time: bind it \
                 (`--inputs`)",
            ));
        };
        trip = cx.constant(Tensor::from_i64(vec![], &[n]));
    }
    let types: Vec<TensorType> = carried.iter().map(|id| cx.ty(*id).clone()).collect();
    let scalar = |dtype| TensorType::new(dtype, vec![]);
    let mut endless = false;
    let region = cx.region(
        parts.body,
        &mut |cx| {
            let graph = &mut cx.frame_mut().graph;
            let name = |k: usize| &parts.body.input[k].name[..];
            let mut own = vec![graph.add_input(name(0), scalar(DType::I64))];
            own.push(graph.add_input(name(1), scalar(DType::Bool)));
            for (k, ty) in types.iter().enumerate() {
                own.push(graph.add_input(name(2 + k), ty.clone()));
            }
            Ok(all(own))
        },
        &mut |cx, mut outputs| {
            endless = outputs[0] == cx.frame().graph.inputs[1] || cx.fixed(outputs[0]) == Some(1);
            outputs[0] = cx.reshape(outputs[0], vec![])?;
            Ok(outputs)
        },
    )?;
    if parts.scans > 0 && !(endless && cx.fixed(cond) == Some(1)) {
        return Err(cx.unsupported(
            "a loop that collects results and may end early: their number is not known",
        ));
    }
    let captures = region.captures.iter().map(|(outer, _)| *outer).collect();
    let attrs = Attrs::new()
        .with("carried", carried.len() as i64)
        .with("scans", parts.scans as i64);
    let operands = [vec![trip, cond], carried, captures].concat();
    let results = cx.rows_with_regions("loop", &operands, attrs, vec![region.graph])?;
    Ok(all(results))
}

/// The iterations one after the other, if their number can be computed.
fn unrolled<'m>(cx: &mut Cx<'m>, parts: &Repeat<'m>) -> Result<Option<Vec<Val>>> {
    let trip = match parts.trip {
        Some(trip) => cx.number(trip),
        None => Some(MAX_UNROLL + 1),
    };
    let mut go = match parts.cond {
        Some(cond) => cx.number(cond),
        None => Some(1),
    };
    let (Some(trip), mut state) = (trip, parts.carried.clone()) else {
        return Ok(None);
    };
    let mut collected: Vec<Vec<ValueId>> = vec![vec![]; parts.scans];
    for i in 0..trip {
        match go {
            Some(0) => break,
            Some(_) if i <= MAX_UNROLL && !cx.is_full() => {}
            _ => return Ok(None),
        }
        let iteration = cx.constant(Tensor::from_i64(vec![], &[i]));
        let cond = cx.truth(true);
        let operands = [vec![iteration.into(), cond.into()], state].concat();
        let problems = cx.problem_count();
        let mut results = cx.inline(parts.body, operands)?.into_iter();
        if cx.problem_count() > problems {
            return Ok(None);
        }
        go = match results.next() {
            Some(Val::Tensor(id)) => cx.number(id),
            _ => None,
        };
        state = results.by_ref().take(parts.carried.len()).collect();
        for (list, val) in collected.iter_mut().zip(results) {
            if let Val::Tensor(id) = val {
                list.push(cx.insert_axis(id, 0)?);
            }
        }
    }
    for list in collected {
        if list.is_empty() {
            return Ok(None);
        }
        state.push(cx.concat(&list, 0)?.into());
    }
    Ok(Some(state))
}

/// What a node says of one of its scanned tensors.
fn listed(node: &NodeProto, name: &str, k: usize) -> Result<i64> {
    let list = node.attr_ints(name)?;
    Ok(list.and_then(|l| l.get(k)).copied().unwrap_or(0))
}

fn scan<'m>(cx: &mut Cx<'m>, node: &'m NodeProto) -> Vals {
    if cx.opset() < 9 {
        return Err(cx.unsupported("Scan with a batch axis, of operator set 8"));
    }
    let body = subgraph(cx, node, "body")?;
    let count = node.require_attr("num_scan_inputs", node.attr_i("num_scan_inputs")?)?;
    let inputs = cx.inputs(node)?;
    let states = usize::try_from(count)
        .ok()
        .and_then(|n| inputs.len().checked_sub(n));
    let fits = |s: &usize| body.input.len() == inputs.len() && body.output.len() >= *s;
    let Some(states) = states.filter(fits) else {
        return Err(cx.invalid("the body does not take or give what is scanned"));
    };
    let (carried, scanned) = inputs.split_at(states);
    let mut sources = Vec::new();
    for (k, x) in scanned.iter().enumerate() {
        let axis = cx.axis(listed(node, "scan_input_axes", k)?, cx.rank(*x))?;
        let reverse = listed(node, "scan_input_directions", k)? == 1;
        sources.push((*x, axis, reverse));
    }
    let length = match sources.first() {
        Some((x, axis, _)) => cx.shape(*x)[*axis].clone(),
        None => return Err(cx.invalid("nothing is scanned")),
    };
    let Some(trip) = length.as_const() else {
        return Err(cx.unsupported(format!("a scan over the symbolic extent {length}")));
    };
    let region = scan_body(cx, body, carried, &sources, trip)?;
    let scans = body.output.len() - states;
    let captures = region.captures.iter().map(|(outer, _)| *outer).collect();
    let attrs = Attrs::new()
        .with("carried", states as i64)
        .with("scans", scans as i64);
    let first = vec![
        cx.constant(Tensor::from_i64(vec![], &[trip])),
        cx.truth(true),
    ];
    let operands = [first, carried.to_vec(), captures].concat();
    let mut results = cx.rows_with_regions("loop", &operands, attrs, vec![region.graph])?;
    for (k, y) in results[states..].iter_mut().enumerate() {
        let rank = cx.rank(*y);
        if listed(node, "scan_output_directions", k)? == 1 {
            let (mut starts, mut steps) = (vec![Expr::from(0); rank], vec![1; rank]);
            (starts[0], steps[0]) = ((trip - 1).max(0).into(), -1);
            let shape = cx.shape(*y);
            *y = cx.slice(*y, starts, shape, steps)?;
        }
        let axis = cx.axis(listed(node, "scan_output_axes", k)?, rank)?;
        let mut perm: Vec<usize> = (1..rank).collect();
        perm.insert(axis, 0);
        *y = cx.transpose(*y, &perm)?;
    }
    Ok(all(results))
}

/// The body of a scan as that of a loop: elements of what is scanned are gathered.
fn scan_body<'m>(
    cx: &mut Cx<'m>,
    body: &'m GraphProto,
    carried: &[ValueId],
    sources: &[(ValueId, usize, bool)],
    trip: i64,
) -> Result<Region> {
    let types: Vec<TensorType> = carried.iter().map(|id| cx.ty(*id).clone()).collect();
    let level = cx.frames.len();
    let scalar = |dtype| TensorType::new(dtype, vec![]);
    cx.region(
        body,
        &mut |cx| {
            let graph = &mut cx.frame_mut().graph;
            let iteration = graph.add_input("iteration", scalar(DType::I64));
            graph.add_input("condition", scalar(DType::Bool));
            let mut operands = Vec::new();
            for (k, ty) in types.iter().enumerate() {
                let id = graph.add_input(&body.input[k].name, ty.clone());
                operands.push(Val::Tensor(id));
            }
            for (x, axis, reverse) in sources {
                let x = cx.capture(level, *x);
                let at = if *reverse {
                    let last = cx.constant(Tensor::from_i64(vec![], &[trip - 1]));
                    cx.binary("sub", last, iteration)?
                } else {
                    iteration
                };
                operands.push(cx.gather(x, at, *axis)?.into());
            }
            Ok(operands)
        },
        &mut |cx, outputs| Ok([vec![cx.truth(true)], outputs].concat()),
    )
}

fn sequence_map<'m>(cx: &mut Cx<'m>, node: &'m NodeProto) -> Vals {
    let body = subgraph(cx, node, "body")?;
    let count = cx.sequence(node, 0)?.len();
    let operands: Vec<Val> = (node.input.iter())
        .map(|name| cx.meaning(name))
        .collect::<Result<_>>()?;
    let mut results: Vec<Vec<ValueId>> = vec![vec![]; body.output.len()];
    for i in 0..count {
        let pick = |val: &Val| match val {
            Val::Sequence(items) => items.get(i).map(|id| Val::Tensor(*id)),
            other => Some(other.clone()),
        };
        let own: Option<Vec<Val>> = operands.iter().map(pick).collect();
        let own = own.ok_or_else(|| cx.invalid("sequences of different lengths"))?;
        for (list, val) in results.iter_mut().zip(cx.inline(body, own)?) {
            match val {
                Val::Tensor(id) => list.push(id),
                Val::Failed => return Ok(vec![Val::Failed; node.output.len()]),
                _ => return Err(cx.unsupported("a sequence of sequences")),
            }
        }
    }
    Ok(results.into_iter().map(Val::Sequence).collect())
}

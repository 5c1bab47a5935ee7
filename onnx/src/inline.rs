//! Calls of model-local functions replaced by their bodies.
//!
//! A value `x` of the body becomes `x#N` in the N-th call, formal inputs and outputs become the
//! call's operands and results, and attribute references become the call's attributes or the
//! function's defaults; a reference to an attribute that has neither is left out. Requires a
//! model that passed the checks. Ensures that no node calls a model-local function.
//!
//! Source: ONNX IR specification, "Functions".

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use crate::budget::{Budget, within};
use crate::error::{OnnxError, Result, quoted};
use crate::proto::{
    AttrKind, AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto,
};

/// Calls within calls. Deeper programs are refused, since each level costs stack.
const MAX_CALLS: u64 = 64;

/// Domain, name and overload.
type Key<'a> = (&'a str, &'a str, &'a str);

/// A domain under its one name: `ai.onnx` is the empty domain.
pub(crate) fn domain_of(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Expands every call in `graph`; the number of calls expanded.
///
/// Errors: `Invalid` for recursion and calls that do not fit their function, `Limit`.
pub(crate) fn inline_functions(
    graph: &mut GraphProto,
    functions: &[FunctionProto],
    budget: &Budget,
) -> Result<u64> {
    let mut table: HashMap<Key<'_>, &FunctionProto> = HashMap::new();
    for function in functions {
        let key = (
            domain_of(&function.domain),
            &function.name[..],
            &function.overload[..],
        );
        if table.insert(key, function).is_some() {
            return Err(OnnxError::invalid(function.label(), "it is defined twice"));
        }
    }
    if table.is_empty() {
        return Ok(0);
    }
    let mut taken = HashSet::new();
    collect_names(graph, &mut taken);
    let mut inliner = Inliner {
        table,
        taken,
        budget,
        stack: Vec::new(),
        calls: 0,
        nodes: count_nodes(graph),
        bytes: 0,
    };
    inliner.graph(graph, 0)?;
    Ok(inliner.calls)
}

struct Inliner<'a> {
    table: HashMap<Key<'a>, &'a FunctionProto>,
    /// Names of the model before expansion.
    taken: HashSet<String>,
    budget: &'a Budget,
    /// The functions being expanded, outermost first.
    stack: Vec<*const FunctionProto>,
    calls: u64,
    nodes: u64,
    bytes: u64,
}

/// How the names and attributes of one call map.
struct Call<'a> {
    number: u64,
    /// Names of the body, innermost scope last.
    scopes: Vec<HashMap<String, String>>,
    attributes: HashMap<&'a str, &'a AttributeProto>,
}

impl<'a> Inliner<'a> {
    fn graph(&mut self, graph: &mut GraphProto, depth: u64) -> Result<()> {
        within(
            depth,
            self.budget.depth,
            "levels of nested subgraphs",
            "depth",
            || format!("subgraph {} after function expansion", quoted(&graph.name)),
        )?;
        let nodes = std::mem::take(&mut graph.node);
        graph.node.reserve(nodes.len());
        for node in nodes {
            self.node(node, &mut graph.node, depth)?;
        }
        Ok(())
    }

    fn node(&mut self, mut node: NodeProto, out: &mut Vec<NodeProto>, depth: u64) -> Result<()> {
        let key = (
            domain_of(&node.domain),
            &node.op_type[..],
            &node.overload[..],
        );
        if let Some(&function) = self.table.get(&key) {
            return self.call(&node, function, out, depth);
        }
        for attr in &mut node.attribute {
            for graph in attr.subgraphs_mut() {
                self.graph(graph, depth + 1)?;
            }
        }
        out.push(node);
        Ok(())
    }

    fn call(
        &mut self,
        node: &NodeProto,
        function: &'a FunctionProto,
        out: &mut Vec<NodeProto>,
        depth: u64,
    ) -> Result<()> {
        let identity: *const FunctionProto = function;
        if self.stack.contains(&identity) {
            let problem = format!("{} calls itself", function.label());
            return Err(OnnxError::invalid(node.label(), problem));
        }
        let calls = self.stack.len() as u64 + 1;
        within(
            calls,
            MAX_CALLS,
            "levels of function calls",
            "depth",
            || node.label(),
        )?;
        self.calls += 1;
        self.stack.push(identity);
        let (mut call, identities) = self.bind(node, function)?;
        for body in &function.node {
            let copy = self.copy_node(body, &mut call)?;
            self.node(copy, out, depth)?;
        }
        for (from, to) in identities {
            self.nodes += 1;
            out.push(NodeProto {
                input: vec![from],
                output: vec![to],
                name: format!("{}#{}", function.name, call.number),
                op_type: "Identity".into(),
                ..Default::default()
            });
        }
        self.stack.pop();
        Ok(())
    }

    /// Maps formals to actuals. The pairs are results that are operands handed through, which
    /// need a node of their own.
    fn bind<'n>(
        &self,
        node: &'n NodeProto,
        function: &'n FunctionProto,
    ) -> Result<(Call<'n>, Vec<(String, String)>)> {
        let label = || format!("{}, call of {}", node.label(), function.label());
        let counts = [
            ("operands", node.input.len(), function.input.len()),
            ("results", node.output.len(), function.output.len()),
        ];
        for (what, found, most) in counts {
            if found > most {
                let problem = format!("{found} {what} where the function has {most}");
                return Err(OnnxError::invalid(label(), problem));
            }
        }
        let mut names = HashMap::new();
        for (index, formal) in function.input.iter().enumerate() {
            let actual = node.input.get(index).cloned().unwrap_or_default();
            names.insert(formal.clone(), actual);
        }
        let mut identities = Vec::new();
        for (formal, actual) in function.output.iter().zip(&node.output) {
            if actual.is_empty() {
                continue;
            }
            match names.get(formal) {
                Some(operand) if operand.is_empty() => {
                    let problem = format!("result {} is an absent operand", quoted(formal));
                    return Err(OnnxError::invalid(label(), problem));
                }
                Some(operand) => identities.push((operand.clone(), actual.clone())),
                None => {
                    names.insert(formal.clone(), actual.clone());
                }
            }
        }
        let defaults = function.attribute_proto.iter();
        let given = node.attribute.iter();
        let call = Call {
            number: self.calls,
            scopes: vec![names],
            attributes: (defaults.chain(given))
                .map(|attr| (&attr.name[..], attr))
                .collect(),
        };
        Ok((call, identities))
    }

    /// A node of the body under the names and attributes of the call.
    fn copy_node(&mut self, node: &NodeProto, call: &mut Call<'_>) -> Result<NodeProto> {
        self.nodes += 1;
        let limit = self.budget.nodes;
        within(
            self.nodes,
            limit,
            "nodes after function expansion",
            "nodes",
            || node.label(),
        )?;
        let own: usize = [&node.name, &node.op_type, &node.domain, &node.overload]
            .iter()
            .map(|text| text.len())
            .sum();
        let names = node.input.iter().chain(&node.output);
        let names: usize = names.map(|name| name.len() + NAME_COST).sum();
        self.charge(own + names + size_of::<NodeProto>(), node)?;
        let input = node
            .input
            .iter()
            .map(|name| self.rename(name, call))
            .collect();
        let output = node
            .output
            .iter()
            .map(|name| self.rename(name, call))
            .collect();
        let mut attribute = Vec::with_capacity(node.attribute.len());
        for attr in &node.attribute {
            attribute.extend(self.copy_attribute(attr, node, call)?);
        }
        let name = match node.name.as_str() {
            "" => String::new(),
            name => format!("{name}#{}", call.number),
        };
        Ok(NodeProto {
            input,
            output,
            name,
            op_type: node.op_type.clone(),
            attribute,
            domain: node.domain.clone(),
            overload: node.overload.clone(),
        })
    }

    /// The attribute with references resolved and subgraphs renamed; `None` when it refers to an
    /// attribute that the call does not give.
    fn copy_attribute(
        &mut self,
        attr: &AttributeProto,
        node: &NodeProto,
        call: &mut Call<'_>,
    ) -> Result<Option<AttributeProto>> {
        if attr.ref_attr_name.is_empty() {
            self.charge(attribute_cost(attr), node)?;
            let mut copy = attr.clone();
            for graph in copy.subgraphs_mut() {
                self.rename_graph(graph, call)?;
            }
            return Ok(Some(copy));
        }
        let Some(&actual) = call.attributes.get(&attr.ref_attr_name[..]) else {
            return Ok(None);
        };
        let label = node.label();
        let found = actual.kind(&label)?;
        let wanted = AttrKind::try_from(attr.r#type).unwrap_or(AttrKind::Undefined);
        if wanted != AttrKind::Undefined && wanted != found {
            let name = quoted(&attr.name);
            let problem = format!("attribute {name} must be {wanted:?}, the call gives {found:?}");
            return Err(OnnxError::invalid(label, problem));
        }
        // Graphs among the actual attributes keep their names: they belong to the caller.
        self.charge(attribute_cost(actual), node)?;
        self.nodes += actual.subgraphs().map(count_nodes).sum::<u64>();
        let mut copy = actual.clone();
        copy.name.clone_from(&attr.name);
        Ok(Some(copy))
    }

    /// Renames a subgraph of a body, already copied, within its own scope.
    fn rename_graph(&mut self, graph: &mut GraphProto, call: &mut Call<'_>) -> Result<()> {
        let mut scope = HashMap::new();
        let sparse = graph
            .sparse_initializer
            .iter()
            .filter_map(|s| s.values.as_ref());
        let constants = graph.initializer.iter().chain(sparse).map(|t| &t.name);
        for name in graph.input.iter().map(|info| &info.name).chain(constants) {
            scope.insert(name.clone(), self.fresh(name, call.number));
        }
        for name in graph.node.iter().flat_map(|node| &node.output) {
            scope.insert(name.clone(), self.fresh(name, call.number));
        }
        call.scopes.push(scope);
        let infos = (graph.input.iter_mut())
            .chain(&mut graph.output)
            .chain(&mut graph.value_info);
        for info in infos {
            info.name = self.rename(&info.name, call);
        }
        let sparse = graph.sparse_initializer.iter_mut();
        let sparse = sparse.filter_map(|s| s.values.as_mut());
        for tensor in graph.initializer.iter_mut().chain(sparse) {
            tensor.name = self.rename(&tensor.name, call);
        }
        for node in std::mem::take(&mut graph.node) {
            let copy = self.copy_node(&node, call)?;
            graph.node.push(copy);
        }
        call.scopes.pop();
        Ok(())
    }

    /// The name in the caller of a name in the body.
    fn rename(&self, name: &str, call: &Call<'_>) -> String {
        if name.is_empty() {
            return String::new();
        }
        let known = call.scopes.iter().rev().find_map(|scope| scope.get(name));
        known
            .cloned()
            .unwrap_or_else(|| self.fresh(name, call.number))
    }

    /// A name used nowhere in the model; the same for the same name and call.
    fn fresh(&self, name: &str, number: u64) -> String {
        if name.is_empty() {
            return String::new();
        }
        let mut fresh = format!("{name}#{number}");
        while self.taken.contains(&fresh) {
            fresh.push('\'');
        }
        fresh
    }

    fn charge(&mut self, bytes: usize, node: &NodeProto) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let limit = self.budget.expansion_bytes;
        let what = "bytes of expanded function bodies";
        within(self.bytes, limit, what, "expansion_bytes", || node.label())
    }
}

/// Heap bytes of a renamed copy of a name, beyond its length.
const NAME_COST: usize = size_of::<String>() + 24;

/// Decoded bytes per encoded byte of an attribute, at most, once shared payloads are taken off:
/// packed numbers of one byte become eight, and messages of two bytes are rare but dear.
const DECODED_PER_ENCODED: usize = 16;

/// About how many heap bytes a copy of this attribute takes.
fn attribute_cost(attr: &AttributeProto) -> usize {
    let own = attr.encoded_len().saturating_sub(shared_bytes(attr));
    size_of::<AttributeProto>() + own * DECODED_PER_ENCODED
}

/// Payload bytes that a copy shares.
fn shared_bytes(attr: &AttributeProto) -> usize {
    let tensor = |t: &TensorProto| t.raw_data.as_ref().map_or(0, |raw| raw.len());
    let sparse = |s: &SparseTensorProto| {
        s.values.as_ref().map_or(0, tensor) + s.indices.as_ref().map_or(0, tensor)
    };
    let graph = |g: &GraphProto| -> usize {
        let nodes = g.node.iter().flat_map(|node| &node.attribute);
        g.initializer.iter().map(tensor).sum::<usize>()
            + g.sparse_initializer.iter().map(sparse).sum::<usize>()
            + nodes.map(shared_bytes).sum::<usize>()
    };
    let tensors = attr.t.as_deref().into_iter().chain(&attr.tensors);
    let sparses = attr
        .sparse_tensor
        .as_deref()
        .into_iter()
        .chain(&attr.sparse_tensors);
    tensors.map(tensor).sum::<usize>()
        + sparses.map(sparse).sum::<usize>()
        + attr.subgraphs().map(graph).sum::<usize>()
}

/// Nodes of a graph and its subgraphs.
pub(crate) fn count_nodes(graph: &GraphProto) -> u64 {
    let inner = graph.node.iter().flat_map(|node| &node.attribute);
    let inner = inner.flat_map(|attr| attr.subgraphs());
    graph.node.len() as u64 + inner.map(count_nodes).sum::<u64>()
}

fn collect_names(graph: &GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.input.iter().map(|info| info.name.clone()));
    names.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    let sparse = graph.sparse_initializer.iter();
    names.extend(sparse.filter_map(|s| Some(s.values.as_ref()?.name.clone())));
    for node in &graph.node {
        names.extend(node.output.iter().cloned());
        for inner in node.attribute.iter().flat_map(|attr| attr.subgraphs()) {
            collect_names(inner, names);
        }
    }
}

//! Graphs on which a check fails are made as small as they can be, and kept in a file that is a test.
#![allow(dead_code, reason = "no test program uses all of it")]

use super::seeds::seeds;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tensmith_ir::eval::eval_graph_with;
use tensmith_ir::graph::{Def, Graph, NodeId, ValueId, parse_graph};
use tensmith_ir::tensor::Tensor;

/// A graph and its inputs.
pub type Case = (Graph, Vec<Tensor>);

/// Says what is wrong with what is made of a graph; it may panic instead.
pub type Check<'c> = dyn Fn(&Graph, &[Tensor]) -> Result<(), String> + 'c;

/// What a check says, panics as well.
fn fault(case: &Case, check: &Check<'_>) -> Option<String> {
    let found = catch_unwind(AssertUnwindSafe(|| check(&case.0, &case.1)));
    let panic = |e: Box<dyn std::any::Any + Send>| {
        let text = e.downcast_ref::<String>().cloned();
        let text = text.or_else(|| e.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("panic: {}", text.unwrap_or_default()))
    };
    found.unwrap_or_else(panic).err()
}

/// Checks graphs of the seeds of a range, or of those that the environment names. The first that
/// fails is made smaller and kept in a file.
///
/// Panics: if a check fails.
pub fn check_drawn(name: &str, usual: Range<u64>, draw: &dyn Fn(u64) -> Case, check: &Check<'_>) {
    for seed in seeds(usual) {
        let case = draw(seed);
        let Some(fault) = fault(&case, check) else {
            continue;
        };
        eprintln!("seed {seed}: {fault}\n{}", case.0);
        let small = shrunk(case, check);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("found");
        let path = folder.join(format!("{name}-{seed}.graph"));
        let text = text_of(&small);
        std::fs::create_dir_all(folder).expect("a folder for what is found");
        std::fs::write(&path, text).expect("a file for what is found");
        panic!(
            "seed {seed} (alone: TENSMITH_SEEDS={seed}..{}): {fault}\nin short:\n{}\nkept in {}: as a \
             file of passes/tests/found it is a test",
            seed + 1,
            small.0,
            path.display()
        );
    }
}

/// Checks all graphs that were found once.
///
/// Panics: if a check fails, or there is none.
pub fn check_found(check: &Check<'_>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("tests/found"), root.join("passes/tests/found")];
    let folder = folders.into_iter().find(|f| f.is_dir());
    let files = std::fs::read_dir(folder.expect("a folder of found graphs")).expect("it is read");
    let mut paths: Vec<PathBuf> = files.map(|f| f.expect("it is read").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "graph"));
    paths.sort();
    assert!(!paths.is_empty(), "no graphs");
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file of text");
        let case = case_of(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if let Some(fault) = fault(&case, check) {
            panic!("{}: {fault}\n{}", path.display(), case.0);
        }
    }
}

/// Two graphs: the case's, and one of nothing but constants, which are its inputs.
fn text_of((graph, inputs): &Case) -> String {
    let mut values = Graph {
        name: "inputs".into(),
        ..Graph::default()
    };
    for (id, tensor) in graph.inputs.iter().zip(inputs) {
        let name = &graph.value(*id).name;
        let value = values.add_constant(name, tensor.clone());
        values.add_output(name, value);
    }
    format!("{}\n{}", graph.full_text(), values.full_text())
}

fn case_of(text: &str) -> Result<Case, String> {
    let (graph, values) = text
        .split_once("\ngraph \"inputs\"")
        .ok_or("no graph of inputs")?;
    let parsed = |text: &str| parse_graph(text).map_err(|e| e.to_string());
    let (graph, values) = (
        parsed(graph)?,
        parsed(&format!("graph \"inputs\"{values}"))?,
    );
    let tensor = |id: &ValueId| {
        values
            .constant(*id)
            .cloned()
            .ok_or("an input without elements")
    };
    let inputs = values
        .outputs
        .iter()
        .map(tensor)
        .collect::<Result<_, _>>()?;
    Ok((graph, inputs))
}

/// A smaller case that fails, too: none of the steps makes it smaller still.
pub fn shrunk(mut case: Case, check: &Check<'_>) -> Case {
    let fails = |c: &Case| fault(c, check).is_some();
    while let Some(smaller) = steps(&case).into_iter().find(fails) {
        case = smaller;
    }
    case
}

/// Cases with fewer nodes or outputs, those with the fewest first.
fn steps(case: &Case) -> Vec<Case> {
    let (graph, inputs) = case;
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    let seen = eval_graph_with(graph, inputs, &mut |id, tensor| {
        values.insert(id, tensor.clone());
    });
    let mut cases = Vec::new();
    let size = |g: &Graph| (g.nodes.len(), g.outputs.len());
    let mut offer = |made: Option<Case>| {
        cases.extend(made.filter(|(g, _)| size(g) < size(graph)));
    };
    if seen.is_ok() {
        let outputs = graph.outputs.clone();
        for output in &outputs {
            offer(rebuilt(case, &[*output], &HashMap::new(), &values));
        }
        for node in &graph.nodes {
            for result in &node.outputs {
                offer(rebuilt(case, &[*result], &HashMap::new(), &values));
                let whole = HashMap::from([(*result, None)]);
                offer(rebuilt(case, &outputs, &whole, &values));
                for operand in &node.inputs {
                    if graph.ty(*operand) == graph.ty(*result) {
                        let passed = HashMap::from([(*result, Some(*operand))]);
                        offer(rebuilt(case, &outputs, &passed, &values));
                    }
                }
            }
        }
    }
    cases.sort_by_key(|(g, _)| size(g));
    cases
}

/// The graph of what some outputs need, where some values are others instead, or inputs with what
/// they were.
fn rebuilt(
    (graph, inputs): &Case,
    outputs: &[ValueId],
    instead: &HashMap<ValueId, Option<ValueId>>,
    values: &HashMap<ValueId, Tensor>,
) -> Option<Case> {
    let stands = |id: ValueId| instead.get(&id).copied().flatten().unwrap_or(id);
    let is_input = |id: ValueId| instead.get(&id) == Some(&None);
    let mut needed: HashSet<ValueId> = HashSet::new();
    let mut open: Vec<ValueId> = outputs.iter().map(|v| stands(*v)).collect();
    while let Some(id) = open.pop() {
        if needed.insert(id) && !is_input(id) {
            let maker: Option<NodeId> = graph.producer(id);
            open.extend(
                maker
                    .iter()
                    .flat_map(|n| &graph.node(*n).inputs)
                    .map(|v| stands(*v)),
            );
        }
    }
    let mut new = Graph {
        name: graph.name.clone(),
        symbols: graph.symbols.clone(),
        ..Graph::default()
    };
    let (mut map, mut given) = (HashMap::new(), Vec::new());
    for (id, tensor) in graph
        .inputs
        .iter()
        .zip(inputs)
        .filter(|(id, _)| needed.contains(id))
    {
        map.insert(
            *id,
            new.add_input(&graph.value(*id).name, graph.ty(*id).clone()),
        );
        given.push(tensor.clone());
    }
    for id in (0..graph.values.len() as u32)
        .map(ValueId)
        .filter(|v| needed.contains(v))
    {
        if let Def::Constant(tensor) = &graph.value(id).def {
            map.insert(id, new.add_constant(&graph.value(id).name, tensor.clone()));
        }
        if is_input(id) {
            let ty = graph.ty(id).clone();
            ty.static_shape()?;
            map.insert(id, new.add_input(&graph.value(id).name, ty));
            given.push(values.get(&id)?.clone());
        }
    }
    for node in &graph.nodes {
        let is_made = |v: &ValueId| needed.contains(v) && !is_input(*v);
        if !node.outputs.iter().any(is_made) {
            continue;
        }
        let operands = node.inputs.iter().map(|v| map.get(&stands(*v)).copied());
        let operands: Vec<ValueId> = operands.collect::<Option<_>>()?;
        let (attrs, regions) = (node.attrs.clone(), node.regions.clone());
        let results = new
            .add_with_regions(node.op, &node.name, &operands, attrs, regions)
            .ok()?;
        for (old, result) in node.outputs.iter().zip(results) {
            map.entry(*old).or_insert(result);
        }
    }
    for (k, output) in outputs.iter().enumerate() {
        new.add_output(&format!("y{k}"), *map.get(&stands(*output))?);
    }
    Some((new, given))
}

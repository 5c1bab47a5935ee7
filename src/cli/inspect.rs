//! `tensmith inspect`
use super::shared::{ModelArgs, print_notes};
use crate::cli::out::outln;
use clap::Args;
use comfy_table::Table;
use std::collections::BTreeMap;
use tensmith::flops::direct_flops;
use tensmith::units::human_bytes;
use tensmith::{Error, Imported, Model, Result};
use tensmith_ir::eval::Sizes;
use tensmith_ir::graph::{Def, Graph};
use tensmith_onnx::OnnxError;
use tensmith_onnx::proto::{NodeProto, dimension};

/// Show inputs, outputs, operators and size of a model.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith inspect model.onnx
  tensmith inspect model.onnx --dim batch=8 --json")]
pub struct Inspect {
    #[command(flatten)]
    model: ModelArgs,
    /// Prints everything as JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a model without importing it.
struct Outline {
    inputs: Vec<(String, String)>,
    outputs: Vec<(String, String)>,
    opsets: Vec<(String, i64)>,
    ops: BTreeMap<String, usize>,
    parameters: u64,
}

/// What importing adds.
struct Detail {
    flops: f64,
    constant_bytes: u64,
    symbols: Vec<(String, i64, i64)>,
    nodes: usize,
}

impl Inspect {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let model = self.model.load()?;
        let outline = Outline::of(&model);
        let imported = model.import(&self.model.options()?);
        let (detail, unsupported) = match imported {
            Ok(imported) => {
                print_notes(&imported);
                (Some(Detail::of(&imported)), Vec::new())
            }
            Err(Error::Model(OnnxError::Unsupported { items })) => {
                (None, items.iter().map(ToString::to_string).collect())
            }
            Err(other) => return Err(other),
        };
        if self.json {
            outln!("{}", as_json(&outline, detail.as_ref(), &unsupported));
        } else {
            print_text(&outline, detail.as_ref(), &unsupported);
        }
        if unsupported.is_empty() {
            return Ok(());
        }
        let count = unsupported.len();
        let reason =
            format!("{count} places of this model are not supported; they are listed above");
        Err(Error::Unsupported(reason))
    }
}

impl Outline {
    fn of(model: &Model) -> Self {
        let loaded = model.loaded();
        let graph = loaded.graph();
        let mut ops = BTreeMap::new();
        count_ops(&graph.node, &mut ops);
        let elements = |dims: &[i64]| dims.iter().map(|d| d.unsigned_abs()).product::<u64>();
        Outline {
            inputs: loaded.required_inputs().map(port).collect(),
            outputs: graph.output.iter().map(port).collect(),
            opsets: loaded
                .opsets()
                .iter()
                .map(|(d, v)| (d.clone(), *v))
                .collect(),
            ops,
            parameters: graph.initializer.iter().map(|t| elements(&t.dims)).sum(),
        }
    }
}

/// Counts the nodes of each operator, subgraphs included.
fn count_ops(nodes: &[NodeProto], ops: &mut BTreeMap<String, usize>) {
    for node in nodes {
        let name = match &node.domain[..] {
            "" | "ai.onnx" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        *ops.entry(name).or_default() += 1;
        for attribute in &node.attribute {
            let one = attribute.g.iter().map(|g| &**g);
            one.chain(&attribute.graphs)
                .for_each(|g| count_ops(&g.node, ops));
        }
    }
}

/// Name and type of an input or output.
fn port(info: &tensmith_onnx::proto::ValueInfoProto) -> (String, String) {
    let Some((elem, shape)) = info.tensor_type() else {
        return (info.name.clone(), "not a tensor".into());
    };
    let extent = |d: &tensmith_onnx::proto::Dimension| match &d.value {
        Some(dimension::Value::Extent(n)) => n.to_string(),
        Some(dimension::Value::Symbol(name)) if !name.is_empty() => name.clone(),
        _ => "?".into(),
    };
    let shape = match shape {
        Some(dims) => dims.iter().map(extent).collect::<Vec<_>>().join(", "),
        None => "...".into(),
    };
    (info.name.clone(), format!("{}[{shape}]", elem.name()))
}

impl Detail {
    fn of(imported: &Imported) -> Self {
        let graph = &imported.graph;
        // Symbols count as 1, like dimensions without a value.
        let sizes: Sizes = graph.symbols.keys().map(|s| (s.clone(), 1)).collect();
        let symbols = graph.symbols.iter();
        Detail {
            flops: direct_flops(graph, &sizes),
            constant_bytes: constant_bytes(graph),
            symbols: symbols
                .map(|(s, i)| (s.name().to_string(), i.min, i.max))
                .collect(),
            nodes: graph.nodes.len(),
        }
    }
}

fn constant_bytes(graph: &Graph) -> u64 {
    let bytes = |def: &Def| match def {
        Def::Constant(t) => t.data.len() as u64,
        _ => 0,
    };
    graph.values.iter().map(|v| bytes(&v.def)).sum()
}

fn as_json(
    outline: &Outline,
    detail: Option<&Detail>,
    unsupported: &[String],
) -> serde_json::Value {
    let ports = |ports: &[(String, String)]| -> Vec<_> {
        let one = |(name, ty): &(String, String)| serde_json::json!({ "name": name, "type": ty });
        ports.iter().map(one).collect()
    };
    let opsets: BTreeMap<&str, i64> = outline
        .opsets
        .iter()
        .map(|(d, v)| (if d.is_empty() { "ai.onnx" } else { d }, *v))
        .collect();
    serde_json::json!({
        "inputs": ports(&outline.inputs),
        "outputs": ports(&outline.outputs),
        "opsets": opsets,
        "ops": outline.ops,
        "parameters": outline.parameters,
        "flops": detail.map(|d| d.flops),
        "constant_bytes": detail.map(|d| d.constant_bytes),
        "graph_nodes": detail.map(|d| d.nodes),
        "symbols": detail.map(|d| d.symbols.iter().map(|(name, min, max)| {
            serde_json::json!({ "name": name, "min": min, "max": max })
        }).collect::<Vec<_>>()),
        "unsupported": unsupported,
    })
}

fn print_text(outline: &Outline, detail: Option<&Detail>, unsupported: &[String]) {
    let mut ports = Table::new();
    ports.load_style(comfy_table::presets::NOTHING);
    for (name, ty) in &outline.inputs {
        ports.add_row(["input", name, ty]);
    }
    for (name, ty) in &outline.outputs {
        ports.add_row(["output", name, ty]);
    }
    outln!("{ports}");
    for (domain, version) in &outline.opsets {
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        outln!("operator set {domain} {version}");
    }
    let mut ops: Vec<(&String, &usize)> = outline.ops.iter().collect();
    ops.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let ops: Vec<String> = ops.iter().map(|(op, n)| format!("{op} x{n}")).collect();
    outln!("operators: {}", ops.join(", "));
    outln!("parameters: {}", outline.parameters);
    if let Some(d) = detail {
        outln!("constants: {}", human_bytes(d.constant_bytes));
        outln!("graph: {} nodes, {:.3} MFLOP a run", d.nodes, d.flops / 1e6);
        for (name, min, max) in &d.symbols {
            outln!("symbol {name}: {min} to {max}");
        }
    }
    for item in unsupported {
        outln!("unsupported: {item}");
    }
}

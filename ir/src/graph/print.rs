//! The text form of graphs.
//!
//! ```text
//! graph "net" ($batch in 1..=64) {
//!   %0 = input "x" : f32[$batch, 3]
//!   %1 = const "two" : f32[] = [2.0]
//!   %2 = mul(%0, %1) {} "scale" : f32[$batch, 3]
//!   output "y" = %2
//! }
//! ```
//! Values are numbered as in the graph. A result whose name is not its node's has it behind the
//! number. Subgraphs follow the types of their node, each after `with`. Constants of more than
//! some elements are a hash in the short form (`Display`), and the bytes in hexadecimal digits in
//! the full form ([`Graph::full_text`]), which is the one that can be parsed.
use super::{AttrValue, Attrs, Def, Graph, Node, TensorType, Value, ValueId};
use crate::dtype::DType;
use crate::ops::show_shape;
use crate::tensor::{Tensor, Wide};
use crate::text::{show_float, show_string};
use std::fmt::{self, Write};

/// Constants of up to so many elements are written as a list.
const LIST_MAX: usize = 8;

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, show_shape(&self.shape))
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { full: false }.graph(self, 0, f)
    }
}

impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrValue::Int(v) => write!(f, "{v}"),
            AttrValue::Ints(v) => write!(f, "{v:?}"),
            AttrValue::Float(v) => f.write_str(&show_float(*v)),
            AttrValue::Floats(v) => {
                let all: Vec<String> = v.iter().map(|x| show_float(*x)).collect();
                write!(f, "[{}]", all.join(", "))
            }
            AttrValue::Bool(v) => write!(f, "{v}"),
            AttrValue::Str(v) => f.write_str(&show_string(v)),
            AttrValue::DType(v) => write!(f, "{v}"),
            AttrValue::Dims(v) => f.write_str(&show_shape(v)),
        }
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.iter().map(|(k, v)| format!("{k}={v}")).collect();
        write!(f, "{{{}}}", all.join(", "))
    }
}

impl Graph {
    /// The text form with the bytes of all constants: [`super::parse_graph`] reads it back.
    pub fn full_text(&self) -> String {
        let mut out = String::new();
        Printer { full: true }
            .graph(self, 0, &mut out)
            .expect("invariant: a string takes all text");
        out
    }
}

/// The name that `Graph::add` gives to result `k` of a node.
pub(super) fn result_name(node: &str, k: usize) -> String {
    match k {
        0 => node.to_string(),
        _ => format!("{node}.{k}"),
    }
}

struct Printer {
    full: bool,
}

impl Printer {
    fn graph(&self, graph: &Graph, depth: usize, out: &mut dyn Write) -> fmt::Result {
        let pad = "  ".repeat(depth);
        let symbols: Vec<String> = graph
            .symbols
            .iter()
            .map(|(s, info)| format!("{s} in {}..={}", info.min, info.max))
            .collect();
        let name = show_string(&graph.name);
        writeln!(out, "{pad}graph {name} ({}) {{", symbols.join(", "))?;
        let mut next = 0;
        for (k, value) in graph.values.iter().enumerate() {
            match &value.def {
                Def::Node(n, 0) => {
                    // Nodes without results are between those with some.
                    let before = next.max(n.0 as usize);
                    for node in &graph.nodes[next.min(before)..before] {
                        if node.outputs.is_empty() {
                            self.node(graph, node, depth + 1, out)?;
                        }
                    }
                    next = before + 1;
                    self.node(graph, graph.node(*n), depth + 1, out)?;
                }
                Def::Node(..) => {}
                Def::Input(_) => {
                    let name = show_string(&value.name);
                    writeln!(out, "{pad}  %{k} = input {name} : {}", value.ty)?;
                }
                Def::Constant(tensor) => self.constant(k, value, tensor, &pad, out)?,
            }
        }
        for node in graph.nodes.iter().skip(next) {
            if node.outputs.is_empty() {
                self.node(graph, node, depth + 1, out)?;
            }
        }
        for (name, value) in graph.output_names.iter().zip(&graph.outputs) {
            writeln!(out, "{pad}  output {} = %{}", show_string(name), value.0)?;
        }
        writeln!(out, "{pad}}}")
    }

    fn constant(
        &self,
        k: usize,
        value: &Value,
        tensor: &Tensor,
        pad: &str,
        out: &mut dyn Write,
    ) -> fmt::Result {
        let name = show_string(&value.name);
        write!(out, "{pad}  %{k} = const {name} : {} = ", value.ty)?;
        if let Some(list) = list(tensor) {
            return writeln!(out, "[{}]", list.join(", "));
        }
        if !self.full {
            return writeln!(out, "#{:016x}", fnv(&tensor.data));
        }
        out.write_str("hex \"")?;
        for byte in tensor.data.iter() {
            write!(out, "{byte:02x}")?;
        }
        out.write_str("\"\n")
    }

    fn node(&self, graph: &Graph, node: &Node, depth: usize, out: &mut dyn Write) -> fmt::Result {
        out.write_str(&"  ".repeat(depth))?;
        for (k, v) in node.outputs.iter().enumerate() {
            let name = &graph.value(*v).name;
            write!(out, "{}%{}", if k == 0 { "" } else { ", " }, v.0)?;
            if *name != result_name(&node.name, k) {
                write!(out, " {}", show_string(name))?;
            }
        }
        let equals = if node.outputs.is_empty() { "" } else { " = " };
        let operands: Vec<String> = node.inputs.iter().map(show_id).collect();
        let operands = operands.join(", ");
        let name = show_string(&node.name);
        write!(
            out,
            "{equals}{}({operands}) {} {name}",
            node.op.name, node.attrs
        )?;
        for (k, v) in node.outputs.iter().enumerate() {
            write!(out, "{}{}", if k == 0 { " : " } else { ", " }, graph.ty(*v))?;
        }
        for region in &node.regions {
            out.write_str(" with\n")?;
            let mut text = String::new();
            self.graph(region, depth + 1, &mut text)?;
            out.write_str(text.trim_end())?;
        }
        out.write_str("\n")
    }
}

fn show_id(id: &ValueId) -> String {
    format!("%{}", id.0)
}

/// The elements, if they are few and read back as the same.
fn list(tensor: &Tensor) -> Option<Vec<String>> {
    if tensor.count() > LIST_MAX {
        return None;
    }
    match tensor.to_wide() {
        Wide::Float(v) if v.iter().any(|x| x.is_nan()) => None,
        Wide::Float(v) => Some(v.iter().map(|x| show_element(tensor.dtype, *x)).collect()),
        Wide::Int(v) => v
            .iter()
            .map(|x| i64::try_from(*x).ok().map(|x| x.to_string()))
            .collect(),
    }
}

/// The shortest decimal that rounds to the element, also by way of `f64`.
fn show_element(dtype: DType, x: f64) -> String {
    let short = format!("{:?}", x as f32);
    match short.parse::<f64>() {
        Ok(read) if dtype == DType::F32 && x.is_finite() && f64::from(read as f32) == x => short,
        _ => show_float(x),
    }
}

/// A hash for the eye (FNV-1a): equal constants look equal.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

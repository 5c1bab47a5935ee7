//! Tables of the rows that the crates declare.

use std::fmt::Write;

use tensmith_ir::dtype::DType;
use tensmith_ir::loops::math::MathFn;
use tensmith_ir::ops::{self, AttrDef, Lower, Op, Tolerance};
use tensmith_passes::alternatives;
use tensmith_passes::graph::egraph::rules;
use tensmith_passes::pipeline;

const NOTE: &str = "Made by `cargo xtask docs`; do not edit.";

/// A table in Markdown; `|` inside of cells is escaped.
struct Table {
    text: String,
}

impl Table {
    fn new(columns: &[&str]) -> Self {
        let mut table = Table {
            text: String::new(),
        };
        table.row(columns);
        table.text += &"|---".repeat(columns.len());
        table.text += "|\n";
        table
    }

    fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        for cell in cells {
            let cell = cell.as_ref().replace('|', "\\|");
            let _ = write!(self.text, "| {cell} ");
        }
        self.text += "|\n";
    }
}

/// The page of the op table.
pub fn ops() -> String {
    let mut table = Table::new(&[
        "op",
        "result",
        "operands",
        "types",
        "attributes",
        "class",
        "becomes",
        "tolerance",
        "source",
    ]);
    for op in ops::all() {
        table.row(&op_cells(op));
    }
    format!(
        "# Ops of the graph IR\n\n{NOTE} The rows are in `ir/src/ops/`.\n\n\
         - *types* are those of the first operand.\n\
         - *becomes*: *value* is computed where consumers ask for it, so it can be fused; *kernel* \
         writes its own loops; *view* shares the bytes of its operand; *steps* is control flow of \
         the plan.\n\
         - *tolerance* is how far compiled code may be from the reference evaluator: *exact*; units \
         in the last place of each element (*ulp*); or units in the last place of the largest \
         magnitude, times the root of the number of terms (*sum*).\n\n{}",
        table.text
    )
}

fn op_cells(op: Op) -> [String; 9] {
    let attrs: Vec<String> = op.attrs.iter().map(attribute).collect();
    let types: Vec<&str> = op.types.iter().map(|t| t.name()).collect();
    let operands = match op.arity {
        (least, most) if least == most => least.to_string(),
        (least, usize::MAX) => format!("{least} or more"),
        (least, most) => format!("{least} to {most}"),
    };
    let becomes = match op.lower {
        Lower::Pointwise(_) => "value",
        Lower::Kernel(_) => "kernel",
        Lower::View => "view",
        Lower::Plan => "steps",
    };
    let tolerance = match op.tolerance {
        Tolerance::Exact => "exact".into(),
        Tolerance::Ulp(n) => format!("{n} ulp"),
        Tolerance::Sum(n) => format!("{n} sum"),
    };
    [
        format!("`{}`", op.name),
        op.doc.into(),
        operands,
        types.join(" "),
        attrs.join("; "),
        format!("{:?}", op.class).to_lowercase(),
        becomes.into(),
        tolerance,
        op.source.into(),
    ]
}

fn attribute(def: &AttrDef) -> String {
    let kind = format!("{:?}", def.kind).to_lowercase();
    format!("`{}` ({kind}): {}", def.name, def.doc)
}

/// The page of the math table.
pub fn math() -> String {
    let mut table = Table::new(&["function", "operands", "f32", "f64", "f16", "bf16"]);
    for f in MathFn::ALL {
        let bound = |dtype| format!("{}", f.ulp_bound(dtype));
        table.row(&[
            format!("`{}`", f.name()),
            f.arity().to_string(),
            bound(DType::F32),
            bound(DType::F64),
            bound(DType::F16),
            bound(DType::BF16),
        ]);
    }
    format!(
        "# Functions of the math table\n\n{NOTE} The bodies are in `ir/src/loops/math/`; their \
         tests hold them to the bounds.\n\nThe greatest error of a result, in units in the last \
         place of the true value. Narrow floats compute in `f32` and round once more. \
         The bounds of `sin`, `cos` and `tan` hold for all `f32`, and for `f64` of magnitudes up \
         to 2^30; results of greater ones stay in range but are not accurate. That of \
         `exp_negative` holds for operands of at most 0.\n\n{}",
        table.text
    )
}

/// The page of the e-graph's rules.
pub fn rules() -> String {
    let mut table = Table::new(&["rule", "rounding", "equation"]);
    for rule in rules::all() {
        table.row(&[
            format!("`{}`", rule.name),
            rule.rounding.name().into(),
            format!("`{}`", rule.equation()),
        ]);
    }
    let mut passes = Table::new(&["pass", "rounding", "what it replaces"]);
    for pass in pipeline::passes() {
        passes.row(&[
            format!("`{}`", pass.name),
            pass.rounding.name().into(),
            format!("`{}`", pass.text),
        ]);
    }
    let mut others = Table::new(&["name", "kind", "rounding", "what it is", "chosen against"]);
    for other in &alternatives::ALL {
        others.row(&[
            format!("`{}`", other.name),
            other.kind.name().into(),
            other.rounding.name().into(),
            other.text.into(),
            other.against.into(),
        ]);
    }
    format!(
        "# Rules of the e-graph\n\n{NOTE} The rules are in `passes/src/graph/egraph/rules/`.\n\n\
         A graph becomes classes of equal terms. Rules add terms that are equal to others until \
         nothing is new or a count of nodes or rounds is reached; then the cheapest member of each \
         class makes the new graph. `tensmith explain MODEL --rules` says what they did to a model; \
         `--no-egraph` leaves them out. What is made is predicted to cost no more than the graph did \
         as it was written, and where only normal forms stand in the way of that, no more than the \
         graph as it was written with its patterns in these.\n\n\
         - `?x` is any value, a number a constant with it in all places, `reduce_sum@a` an op whose \
         attributes are called `a`: equal wherever that name stands, and `@!` where the rule derives \
         them.\n\
         - Products and sums are matched modulo algebra: factors and terms in any order, divisions, \
         reciprocals, signs and differences as what they are, numbers wherever they stand.\n\
         - *exact* rules keep all bits; *reassociates*: both sides are equal in real numbers, and \
         the rule is left out where the precision is exact. None *approximates*: such a rule would \
         state its error, and be taken where `--tolerance` admits that.\n\n\
         Each rule is tested alone on random spellings of its left side, by values and by the one \
         form that they must end as (`passes/tests/rules.rs`).\n\n{}\n\
         ## Passes\n\n\
         What is replaced wherever it is found, before the rules and after them, in the order of the \
         passes (`passes/src/pipeline/passes.rs`; [passes.md](passes.md) has an example of each). \
         `tensmith explain MODEL --rules` counts the nodes that each put something else in place of, \
         and those of the optimised graph that it made; a node counts as another one if its name, op \
         or attributes are.\n\n{}\n\
         ## Algorithms and layouts\n\n\
         What is chosen beside the terms of the e-graph (`passes/src/alternatives.rs`): by what the \
         cost model predicts, or wherever the structure is there. `tensmith explain MODEL --rules` \
         lists them behind the rules, with the places where each was possible and where it was \
         taken.\n\n{}",
        table.text, passes.text, others.text
    )
}

/// The page of the importer's operators.
pub fn onnx() -> String {
    let ops = tensmith_onnx::import::supported_ops();
    let mut table = Table::new(&["domain", "operators"]);
    let mut domains: Vec<&str> = ops.iter().map(|(domain, _)| *domain).collect();
    domains.dedup();
    for domain in domains {
        let own = ops.iter().filter(|(d, _)| *d == domain);
        let names: Vec<String> = own.map(|(_, name)| format!("`{name}`")).collect();
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        table.row(&[format!("`{shown}`"), names.join(", ")]);
    }
    format!(
        "# Operators of ONNX that are imported\n\n{NOTE} The rows are in `onnx/src/import/`.\n\n\
         {} operators, from operator set 7 on. Functions that a model defines are expanded first. \
         An operator may still be refused for an attribute or a type; the error names it.\n\n{}",
        ops.len(),
        table.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_end_early() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&["x | y", "z"]);
        assert_eq!(table.text, "| a | b |\n|---|---|\n| x \\| y | z |\n");
    }

    #[test]
    fn every_row_is_on_its_page() {
        let text = ops();
        assert!(ops::all().all(|op| text.contains(&format!("\n| `{}` |", op.name))));
        let text = math();
        assert!(MathFn::ALL.iter().all(|f| text.contains(f.name())));
        let text = onnx();
        let names = tensmith_onnx::import::supported_ops();
        assert!(names.iter().all(|(_, n)| text.contains(&format!("`{n}`"))));
    }
}

//! Patterns that exporters spell in many ways: all spellings of a group end as the same graph, and
//! as as many kernels, and compute the same.
//!
//! [`docs/spellings.md`](../docs/spellings.md) is made of this: `TENSMITH_UPDATE_SPELLINGS=1` in the
//! environment writes it.
#[path = "../passes/tests/common/canonical.rs"]
mod canonical;
mod support;

use canonical::canonical;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use support::spelling::{Group, Spelling, VIEWS, parse};
use tensmith::{LoadOptions, Model, Options};
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::{Graph, TensorType};
use tensmith_ir::ops::Sampler;
use tensmith_ir::tensor::Tensor;
use tensmith_passes::{PassOptions, optimise, plan};

/// Largest error over the largest magnitude: sums of some hundred terms reassociate.
const LIMIT: f64 = 2e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spellings")
}

/// The groups of all files, in the order of the files' names.
fn groups() -> Vec<Group> {
    let files = std::fs::read_dir(folder()).expect("the folder of spellings");
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    let read = |f: &PathBuf| parse(&std::fs::read_to_string(f).unwrap());
    files.iter().flat_map(read).collect()
}

fn import(group: &Group, spelling: &Spelling) -> Graph {
    let bytes = group.model(spelling);
    let model = Model::from_bytes(bytes, &LoadOptions::default());
    let imported = model.and_then(|m| m.import(&Options::default()));
    let fail = |e| {
        panic!(
            "{}, {}: {e}\n{}",
            group.pattern,
            spelling.note,
            spelling.body.join("\n")
        )
    };
    imported.unwrap_or_else(fail).graph
}

/// Random inputs; conditions are true and false, and integers are small.
fn inputs(graph: &Graph) -> Vec<Tensor> {
    let mut sampler = Sampler::new(7);
    let mut tensor = |ty: &TensorType| {
        let shape = ty.static_shape().expect("spellings are static");
        sampler.tensor(ty.dtype, &shape, -3.0, 3.0)
    };
    let types = graph.inputs.iter().map(|v| graph.ty(*v));
    types.map(&mut tensor).collect()
}

fn assert_close(place: &str, want: &Tensor, found: &Tensor) {
    assert_eq!(
        (want.dtype, &want.shape),
        (found.dtype, &found.shape),
        "{place}"
    );
    let (want, found) = (want.to_f64(), found.to_f64());
    let largest = want.iter().filter(|x| x.is_finite());
    let largest = largest.fold(1.0, |m: f64, x| m.max(x.abs()));
    for (k, (a, b)) in want.iter().zip(&found).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= LIMIT * largest;
        assert!(same, "{place}, element {k}: {b}, want {a}");
    }
}

/// How a group ended.
struct Row {
    kernels: usize,
    /// The graph, and the places of spellings that end otherwise.
    others: Vec<String>,
}

fn run(group: &Group) -> Row {
    let options = PassOptions::default();
    let mut first: Option<(String, usize, Tensor, Graph)> = None;
    let mut others = Vec::new();
    for spelling in &group.spellings {
        let place = format!("{}, {}: {}", group.pattern, spelling.origin, spelling.note);
        let graph = import(group, spelling);
        let x = inputs(&graph);
        let want = eval_graph(&graph, &x)
            .expect("spellings evaluate")
            .remove(0);
        let optimised = optimise(graph, &options).expect("a valid graph");
        let got = eval_graph(&optimised, &x)
            .expect("results evaluate")
            .remove(0);
        assert_close(&place, &want, &got);
        let kernels = plan(&optimised, &options).expect("a plan").kernels.len();
        let text = canonical(&optimised);
        match &first {
            None => first = Some((text, kernels, want, optimised)),
            Some((same, count, value, graph)) => {
                assert_close(&place, value, &want);
                if (same, *count) != (&text, kernels) {
                    let counts = format!("{count} and {kernels} kernels");
                    others.push(format!("{place}\n{graph}\n{optimised}\n{counts}"));
                }
            }
        }
    }
    let kernels = first.map_or(0, |f| f.1);
    Row { kernels, others }
}

fn page(rows: &[(Group, Row)]) -> String {
    let count: usize = rows.iter().map(|(g, _)| g.spellings.len()).sum();
    let mut page = format!(
        "# Spellings\n\n\
         Exporters write one pattern in many ways. The {count} spellings of these {} patterns end, \
         pattern by pattern, as the same graph (constants to four digits) and as many kernels. They are in \
         `tests/spellings/`; `tests/spellings.rs` holds this, and makes this page with \
         `TENSMITH_UPDATE_SPELLINGS=1`.\n",
        rows.len()
    );
    for (group, row) in rows {
        let kernels = match row.kernels {
            1 => "1 kernel".into(),
            n => format!("{n} kernels"),
        };
        let _ = write!(page, "\n## {} ({kernels})\n\n", group.pattern);
        page += "| spelling | origin | opset |\n|---|---|---|\n";
        for s in &group.spellings {
            let _ = writeln!(page, "| {} | {} | {} |", s.note, s.origin, s.opset);
        }
    }
    page
}

#[test]
fn spellings_of_a_pattern_end_as_one() {
    let only = std::env::var("TENSMITH_SPELLINGS").ok();
    let wanted = |g: &Group| only.as_ref().is_none_or(|o| g.pattern.contains(o));
    let groups = groups().into_iter().filter(wanted);
    let rows: Vec<(Group, Row)> = groups
        .map(|g| {
            let r = run(&g);
            (g, r)
        })
        .collect();
    let others: Vec<&str> = rows
        .iter()
        .flat_map(|(_, r)| &r.others)
        .map(String::as_str)
        .collect();
    assert!(
        others.is_empty(),
        "{} differ:\n{}",
        others.len(),
        others.join("\n\n")
    );
    if only.is_some() {
        return;
    }
    let (page, path) = (page(&rows), folder().join("../../docs/spellings.md"));
    if std::env::var_os("TENSMITH_UPDATE_SPELLINGS").is_some_and(|v| v == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/spellings.md: run this test with TENSMITH_UPDATE_SPELLINGS=1"
    );
}

/// Patterns over the last axis of three: a view changes those before it, or is of a part.
const ROWS: [&str; 5] = [
    "layer norm",
    "layer norm without scale",
    "RMS norm",
    "softmax",
    "log-softmax",
];

#[test]
fn rows_behind_views_end_as_rows() {
    let rows = groups();
    let rows = rows.iter().filter(|g| ROWS.contains(&g.pattern.as_str()));
    let mut others = Vec::new();
    let mut seen = 0;
    for group in rows {
        let kernels = run(group).kernels;
        for view in VIEWS {
            let group = group.behind(view);
            let row = run(&group);
            if row.kernels != kernels {
                let counts = format!("{} kernels, {kernels} without a view", row.kernels);
                others.push(format!("{}: {counts}", group.pattern));
            }
            others.extend(row.others);
        }
        seen += 1;
    }
    assert_eq!(seen, ROWS.len());
    let count = others.len();
    assert!(
        others.is_empty(),
        "{count} differ:\n{}",
        others.join("\n\n")
    );
}

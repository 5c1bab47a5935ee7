use crate::dtype::DType;
use crate::expr::{Expr, Symbol};
use crate::graph::*;
use crate::ops::{self, Sampler};
use crate::tensor::{Tensor, Wide};

/// The full text reads back as a graph that prints the same and verifies.
fn round_trip(graph: &Graph) {
    verify_graph(graph).expect("a graph that verifies");
    let text = graph.full_text();
    let read = parse_graph(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_graph(&read).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.full_text(), text);
    assert_eq!(read.to_string(), graph.to_string());
    for (a, b) in graph.values.iter().zip(&read.values) {
        assert_eq!((&a.name, &a.ty), (&b.name, &b.ty));
        if let (Def::Constant(a), Def::Constant(b)) = (&a.def, &b.def) {
            assert_eq!(a, b);
        }
    }
}

fn small() -> Graph {
    let batch = Symbol::new("batch");
    let mut graph = Graph {
        name: "a \"net\"".into(),
        ..Graph::default()
    };
    graph
        .symbols
        .insert(batch.clone(), SymbolInfo { min: 1, max: 64 });
    let ty = TensorType::new(DType::F32, vec![Expr::size(batch), 3.into()]);
    let x = graph.add_input("x", ty);
    let two = graph.add_constant("two", Tensor::from_f32(vec![], &[2.1]));
    let y = graph
        .add_one(ops::op("mul"), "scale", &[x, two], Attrs::new())
        .expect("a node");
    let z = graph
        .add_one(ops::op("tanh"), "squash", &[y], Attrs::new())
        .expect("a node");
    graph.values[z.0 as usize].name = "z".into();
    graph.add_output("z", z);
    graph
}

#[test]
fn prints_as_documented() {
    let want = r#"graph "a \"net\"" ($batch in 1..=64) {
  %0 = input "x" : f32[$batch, 3]
  %1 = const "two" : f32[] = [2.1]
  %2 = mul(%0, %1) {} "scale" : f32[$batch, 3]
  %3 "z" = tanh(%2) {} "squash" : f32[$batch, 3]
  output "z" = %3
}
"#;
    assert_eq!(small().to_string(), want);
    round_trip(&small());
}

/// Every op of the table with sampled operands, of which some are constants.
#[test]
fn every_op_reads_back() {
    let mut sampler = Sampler::new(5);
    for op in ops::all() {
        for sample in (op.samples)(&mut sampler).into_iter().take(6) {
            let mut graph = Graph::default();
            let mut operands = Vec::new();
            for (k, tensor) in sample.inputs.iter().enumerate() {
                operands.push(graph.add_constant(&format!("x{k}"), tensor.clone()));
            }
            let results = graph.add(op, "n\u{e9}\n", &operands, sample.attrs);
            for (k, v) in results.expect("a sample fits").into_iter().enumerate() {
                graph.add_output(&format!("y{k}"), v);
            }
            round_trip(&graph);
        }
    }
}

#[test]
fn constants_keep_their_bits() {
    let mut graph = Graph::default();
    for (k, bits) in [0x7fc0_0001u32, 0x8000_0000, 0x7f80_0000, 1, 0x3f80_0001]
        .iter()
        .enumerate()
    {
        let data = bits.to_le_bytes().to_vec();
        let tensor = Tensor::new(DType::F32, vec![1], data.into()).expect("four bytes");
        graph.add_constant(&format!("c{k}"), tensor);
    }
    let ints = Wide::Int(vec![i128::from(u64::MAX), 3]);
    graph.add_constant("u", Tensor::from_wide(DType::U64, vec![2], &ints));
    graph.add_constant("none", Tensor::from_f32(vec![0, 4], &[]));
    graph.add_constant("many", Tensor::from_f32(vec![3, 5], &[0.1; 15]));
    round_trip(&graph);
    assert!(graph.to_string().contains('#'));
    let error = parse_graph(&graph.to_string()).expect_err("a hash has no elements");
    assert!(error.to_string().contains("in full"), "{error}");
}

fn branch(name: &str, op: &str) -> Graph {
    let mut graph = Graph {
        name: name.into(),
        ..Graph::default()
    };
    let x = graph.add_input("x", TensorType::new(DType::F32, vec![2.into()]));
    let y = graph
        .add_one(ops::op(op), op, &[x], Attrs::new())
        .expect("a node");
    graph.add_output("y", y);
    graph
}

fn with_regions() -> Graph {
    let mut graph = Graph::default();
    let cond = graph.add_input("c", TensorType::new(DType::Bool, vec![]));
    let x = graph.add_input("x", TensorType::new(DType::F32, vec![2.into()]));
    let regions = vec![branch("then", "tanh"), branch("else", "neg")];
    let results = graph
        .add_with_regions(ops::op("if"), "choice", &[cond, x], Attrs::new(), regions)
        .expect("a node");
    graph.add_output("y", results[0]);
    graph
}

#[test]
fn subgraphs_read_back() {
    round_trip(&with_regions());
}

#[test]
fn errors_name_the_place() {
    let text = small().full_text();
    for (from, to, want) in [
        ("mul(%0", "mul(%9", "line 4, column 12: `%9` is not defined"),
        ("mul(", "mull(", "line 4, column 8: `mull` is not an op"),
        ("tanh(%2) {}", "tanh(%2) {k=1}", "has no attribute `k`"),
        ("[2.1]", "[2.1, 3]", "do not fill"),
        ("f32[] = [2.1]", "i8[] = [300]", "300 is not a number of i8"),
        (
            "\"squash\" : f32[$batch, 3]",
            "\"squash\" : f32[3]",
            "the types of the results are",
        ),
        ("%3 \"z\" = t", "%2 \"z\" = t", "defined twice"),
        ("1..=64", "9..=1", "bounds of a size"),
        ("= %3\n}", "= %3\n} }", "expected the end"),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text, "{from}");
        let error = parse_graph(&broken).expect_err(to).to_string();
        assert!(error.contains(want), "{to}: {error}");
    }
}

/// No cut of a text makes the parser panic.
#[test]
fn cut_texts_are_errors() {
    let text = with_regions().full_text();
    for end in 0..text.trim_end().len() {
        assert!(parse_graph(&text[..end]).is_err());
    }
}

#[test]
fn broken_graphs_are_found() {
    let check = |want: &str, change: &dyn Fn(&mut Graph)| {
        let mut graph = small();
        change(&mut graph);
        let error = verify_graph(&graph).expect_err(want);
        assert!(error.contains(want), "{error}");
    };
    check("inference says", &|g| g.values[2].ty.dtype = DType::F64);
    check("defined later", &|g| g.nodes[0].inputs[0] = ValueId(3));
    check("not one of 4 values", &|g| {
        g.nodes[0].inputs[0] = ValueId(7)
    });
    check("its constant", &|g| g.values[1].ty.shape.push(2.into()));
    check("names for", &|g| g.output_names.clear());
    check("is something else", &|g| g.inputs.push(ValueId(1)));
    check("its origin", &|g| g.nodes[1].outputs.clear());
    check("attribute `k`", &|g| g.nodes[0].attrs.set("k", 1i64));
    check("lies in", &|g| {
        for info in g.symbols.values_mut() {
            info.max = 0;
        }
    });
    let mut graph = with_regions();
    graph.nodes[0].regions[1].values[1].ty.dtype = DType::F64;
    assert!(verify_graph(&graph).is_err());
}

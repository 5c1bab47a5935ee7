//! Products and convolutions of bytes, as whole models: every result is the integer that the
//! reference evaluator adds up, whatever computes it.
use tensmith::convert::{to_ir, to_runtime};
use tensmith::{Options, compile};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;

/// Bytes of all values, or of the extreme ones only.
fn bytes(dtype: DType, shape: &[usize], seed: u64, extreme: bool) -> Tensor {
    let drawn = Sampler::new(seed).tensor(DType::U8, shape, 0.0, 255.0);
    let pick = |b: &u8| match (extreme, dtype) {
        (false, _) => *b,
        (true, DType::U8) => 255 * u8::from(*b > 20),
        (true, _) => 127 + u8::from(*b > 20),
    };
    let data: Vec<u8> = drawn.data.iter().map(pick).collect();
    Tensor::new(dtype, shape.to_vec(), data.into()).unwrap()
}

/// A graph of two operands of bytes.
struct Model {
    graph: Graph,
    names: Vec<String>,
    inputs: Vec<Tensor>,
}

impl Model {
    fn new() -> Self {
        Model {
            graph: Graph::default(),
            names: vec![],
            inputs: vec![],
        }
    }

    fn add(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.graph.add_one(op(name), name, inputs, attrs).unwrap()
    }

    /// An operand less its zero point.
    fn centred(&mut self, t: &Tensor, zero: f64, constant: bool) -> ValueId {
        let x = if constant {
            self.graph.add_constant("w", t.clone())
        } else {
            let name = format!("x{}", self.names.len());
            let dims = t.shape.iter().map(|d| (*d).into()).collect();
            self.names.push(name.clone());
            self.inputs.push(t.clone());
            self.graph.add_input(&name, TensorType::new(t.dtype, dims))
        };
        let to = || Attrs::new().with("to", DType::I32);
        let x = self.add("cast", &[x], to());
        let zero = self
            .graph
            .add_constant("z", Tensor::splat(t.dtype, vec![], zero));
        let zero = self.add("cast", &[zero], to());
        self.add("sub", &[x, zero], Attrs::new())
    }

    /// Compares what is compiled with the reference.
    fn check(mut self, result: ValueId, what: &str) {
        self.graph.add_output("y", result);
        let want = eval_graph(&self.graph, &self.inputs).unwrap();
        let options = Options {
            threads: Some(1),
            ..Options::default()
        };
        let executable = compile::compile(&self.graph, &options, vec![], &self.names).unwrap();
        let inputs: Vec<_> = self.inputs.iter().map(|t| to_runtime(t).unwrap()).collect();
        let named = self.names.iter().map(String::as_str);
        let named: Vec<_> = named.zip(inputs.iter().map(|t| t.view())).collect();
        let outputs = executable.run(&named).unwrap();
        assert_eq!(to_ir(outputs[0].view()), want[0], "{what}");
    }
}

#[test]
fn products() {
    for (rows, depth, columns) in [(1, 768, 40), (20, 300, 33), (7, 1030, 16), (3, 5, 2)] {
        for (types, zero) in [
            ([DType::U8, DType::I8], 128.0),
            ([DType::U8, DType::U8], 3.0),
            ([DType::I8, DType::I8], 0.0),
        ] {
            for (constant, extreme) in [(true, false), (true, true), (false, false), (false, true)]
            {
                let mut m = Model::new();
                let a = bytes(types[0], &[rows, depth], 1, extreme);
                let b = bytes(types[1], &[depth, columns], 2, extreme);
                let zero = if types[0] == DType::I8 { 0.0 } else { zero };
                let (a, b) = (m.centred(&a, zero, false), m.centred(&b, 0.0, constant));
                let spec = Attrs::new().with("spec", "mk,kn->mn");
                let y = m.add("contract", &[a, b], spec);
                m.check(
                    y,
                    &format!("{rows} {depth} {columns} {types:?} {constant} {extreme}"),
                );
            }
        }
    }
}

/// Convolutions that others of their shape are computed with fewer multiplications, which would
/// round; grouped ones; and such whose sums are cut into parts.
#[test]
fn convolutions() {
    let shapes = [
        ([1, 64, 16, 16], [64, 64, 3, 3], 1),
        ([1, 200, 9, 9], [24, 200, 3, 3], 1),
        ([2, 32, 9, 13], [32, 1, 3, 3], 32),
        ([1, 24, 7, 7], [40, 24, 1, 1], 1),
    ];
    for (x, w, groups) in shapes {
        for (constant, extreme) in [(true, false), (true, true), (false, false)] {
            let mut m = Model::new();
            let a = m.centred(&bytes(DType::U8, &x, 3, extreme), 7.0, false);
            let b = m.centred(&bytes(DType::I8, &w, 4, extreme), 0.0, constant);
            let pad = i64::from(w[2] == 3);
            let attrs = Attrs::new()
                .with("strides", vec![1, 1])
                .with("dilations", vec![1, 1])
                .with("groups", groups)
                .with("pads_before", vec![pad, pad])
                .with("pads_after", vec![pad, pad]);
            let y = m.add("conv", &[a, b], attrs);
            m.check(y, &format!("{x:?} {w:?} {groups} {constant} {extreme}"));
        }
    }
}

/// A sum over a window of a known image has more terms than its channels.
#[test]
fn windows_of_known_images() {
    let mut m = Model::new();
    let image = bytes(DType::U8, &[1, 1, 30, 30], 5, true);
    let a = m.centred(&image, 0.0, true);
    let b = m.centred(&bytes(DType::I8, &[1, 1, 25, 25], 6, true), 0.0, false);
    let attrs = Attrs::new()
        .with("strides", vec![1, 1])
        .with("dilations", vec![1, 1])
        .with("groups", 1)
        .with("pads_before", vec![0, 0])
        .with("pads_after", vec![0, 0]);
    let y = m.add("conv", &[a, b], attrs);
    m.check(y, "a known image");
}

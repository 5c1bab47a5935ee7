//! Convolutions: images of one row or one column.
use super::super::facts::Terms;
use super::super::rule::{Rounding, Rule, Tree};
use super::super::term::Call;
use super::{finished, float, node, structure};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Sampler, op};

/// The rules.
pub const RULES: &[Rule] = &[structure(
    "convolution-without-axis",
    Rounding::Exact,
    (
        "conv",
        "(conv ?x ?w) => (reshape (conv (reshape ?x) (reshape ?w))) without a spatial axis of extent 1, if another is longer",
    ),
    without_axis,
    sample_row,
)];

/// What windows have for each spatial axis.
const LISTS: [&str; 4] = ["strides", "dilations", "pads_before", "pads_after"];

fn without_axis(terms: &Terms, call: &Call) -> Vec<Tree> {
    let [x, w] = call.args[..] else { return vec![] };
    let of = |id| terms[id].data.ty().shape.clone();
    let (image, kernel) = (of(x), of(w));
    let unpadded = |k: usize| {
        let pads = [
            call.attrs.ints("pads_before"),
            call.attrs.ints("pads_after"),
        ];
        pads.iter().all(|p| p[k - 2] == 0)
    };
    let thin = |k: &usize| image[*k].is(1) && kernel[*k].is(1) && unpadded(*k);
    let longer = (2..image.len()).any(|k| !image[k].is(1));
    let Some(axis) = (2..image.len()).find(thin).filter(|_| longer) else {
        return vec![];
    };
    let less = |shape: &[Expr]| {
        let rest = shape.iter().enumerate().filter(|(k, _)| *k != axis);
        rest.map(|(_, d)| d.clone()).collect::<Vec<Expr>>()
    };
    let view = |tree: Tree, shape: Vec<Expr>| {
        let attrs = Attrs::new().with("shape", shape);
        Tree::Call(op("reshape"), attrs, vec![tree])
    };
    let mut attrs = (*call.attrs).clone();
    for name in LISTS {
        let mut list = attrs.ints(name).to_vec();
        list.remove(axis - 2);
        attrs = attrs.with(name, list);
    }
    let operands = vec![
        view(Tree::Class(x), less(&image)),
        view(Tree::Class(w), less(&kernel)),
    ];
    let types = super::super::facts::infer(terms, call);
    let Some(shape) = types.ok().map(|t| t[0].shape.clone()) else {
        return vec![];
    };
    vec![view(Tree::Call(call.op, attrs, operands), shape)]
}

fn sample_row(s: &mut Sampler) -> Graph {
    let mut g = Graph::default();
    let (c, o, n, k) = (s.int(1, 3), s.int(1, 3), s.int(4, 8), s.int(1, 3));
    let row = s.int(0, 1) == 0;
    let turned = |a: i64, b: i64| if row { [a, b] } else { [b, a] };
    let ([h, w], [kh, kw]) = (turned(1, n), turned(1, k));
    let x = float(&mut g, "x", &[1, c, h, w]);
    let weight = float(&mut g, "w", &[o, c, kh, kw]);
    let attrs = Attrs::new()
        .with("strides", turned(1, s.int(1, 2)).to_vec())
        .with("dilations", vec![1, 1])
        .with("pads_before", turned(0, 1).to_vec())
        .with("pads_after", turned(0, s.int(0, 1)).to_vec())
        .with("groups", 1);
    let y = node(&mut g, "conv", &[x, weight], attrs);
    finished(g, y)
}

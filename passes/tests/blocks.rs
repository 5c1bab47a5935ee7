//! Convolutions and products of blocks of an image, stacked in any order: the same values, and no
//! movement of the image.
mod common;

use common::seeds::seeds;
use common::{check, f32s, ty};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_passes::{PassOptions, optimise};

/// An image, and blocks of its places.
struct Drawn {
    g: Graph,
    shape: [i64; 4],
    blocks: [i64; 2],
}

fn node(g: &mut Graph, name: &str, operands: &[ValueId], attrs: Attrs) -> ValueId {
    g.add_one(op(name), name, operands, attrs).unwrap()
}

fn reshape(g: &mut Graph, x: ValueId, shape: &[i64]) -> ValueId {
    let shape: Vec<Expr> = shape.iter().map(|n| Expr::from(*n)).collect();
    node(g, "reshape", &[x], Attrs::new().with("shape", shape))
}

fn transpose(g: &mut Graph, x: ValueId, perm: &[i64]) -> ValueId {
    node(
        g,
        "transpose",
        &[x],
        Attrs::new().with("perm", perm.to_vec()),
    )
}

fn conv(g: &mut Graph, x: ValueId, w: ValueId, pads: i64) -> ValueId {
    let attrs = Attrs::new()
        .with("strides", vec![1, 1])
        .with("dilations", vec![1, 1])
        .with("groups", 1)
        .with("pads_before", vec![pads, pads])
        .with("pads_after", vec![pads, pads]);
    node(g, "conv", &[x, w], attrs)
}

fn draw(s: &mut Sampler) -> Drawn {
    let blocks = *s.pick(&[[2, 2], [1, 2], [3, 1], [2, 3]]);
    let shape = [
        s.int(1, 2),
        s.int(1, 4),
        blocks[0] * s.int(2, 5),
        blocks[1] * s.int(2, 5),
    ];
    let g = Graph::default();
    Drawn { g, shape, blocks }
}

impl Drawn {
    /// The image with its places parted: batch, channels, rows of blocks, rows in them, and the same
    /// of columns. Also the image, whose channels may come last.
    fn parted(&mut self, last: bool) -> (ValueId, Vec<usize>) {
        let [n, c, h, w] = self.shape;
        let [p, q] = self.blocks;
        let shape = if last { [n, h, w, c] } else { self.shape };
        let shape = shape.map(|d| d as usize);
        let x = self.g.add_input("x", ty(&shape));
        let parts = match last {
            true => reshape(&mut self.g, x, &[n, h / p, p, w / q, q, c]),
            false => reshape(&mut self.g, x, &[n, c, h / p, p, w / q, q]),
        };
        let parts = match last {
            true => transpose(&mut self.g, parts, &[0, 5, 1, 2, 3, 4]),
            false => parts,
        };
        (parts, shape.to_vec())
    }
}

/// Whether the image is moved before a product or a convolution reads it.
fn moves(g: &Graph) -> bool {
    let found = optimise(g.clone(), &PassOptions::default()).unwrap();
    let reads = |v: &ValueId| *v == found.inputs[0];
    let mut readers = found.nodes.iter().filter(|n| n.inputs.iter().any(reads));
    readers.any(|n| matches!(n.op.name, "reshape" | "transpose" | "slice"))
}

#[test]
fn channels_that_are_blocks_are_windows() {
    for seed in seeds(0..60) {
        let mut s = Sampler::new(seed);
        let mut d = draw(&mut s);
        let last = s.int(0, 3) == 0;
        let (parts, shape) = d.parted(last);
        let order = *s.pick(&[[1, 3, 5], [3, 5, 1], [5, 3, 1], [3, 1, 5], [5, 1, 3]]);
        let stacked = [&[0][..], &order, &[2, 4]].concat();
        let moved = transpose(&mut d.g, parts, &stacked);
        let ([n, c, h, w], [p, q]) = (d.shape, d.blocks);
        let image = reshape(&mut d.g, moved, &[n, c * p * q, h / p, w / q]);
        let taps = *s.pick(&[1_i64, 2]);
        let of = [5, c * p * q, taps, taps].map(|e| e as usize);
        let weights = d.g.add_constant("w", f32s(&of, 0.5));
        let y = conv(&mut d.g, image, weights, taps - 1);
        d.g.add_output("y", y);
        assert!(last || !moves(&d.g), "seed {seed}");
        check(&d.g, &[f32s(&shape, 1.0)]);
    }
}

#[test]
fn rows_that_are_blocks_are_windows() {
    for seed in seeds(0..60) {
        let mut s = Sampler::new(seed);
        let mut d = draw(&mut s);
        let last = s.int(0, 3) == 0;
        let (parts, shape) = d.parted(last);
        let order = *s.pick(&[[1, 3, 5], [3, 5, 1], [5, 3, 1], [3, 1, 5]]);
        let moved = transpose(&mut d.g, parts, &[&[0, 2, 4][..], &order].concat());
        let ([n, c, h, w], [p, q]) = (d.shape, d.blocks);
        let (places, depth) = (h / p * (w / q), c * p * q);
        let rows = reshape(&mut d.g, moved, &[n, places, depth]);
        let weights = d.g.add_constant("w", f32s(&[depth as usize, 6], 0.5));
        let attrs = Attrs::new().with("spec", "npc,co->npo");
        let y = node(&mut d.g, "contract", &[rows, weights], attrs);
        d.g.add_output("y", y);
        check(&d.g, &[f32s(&shape, 1.0)]);
    }
}

#[test]
fn batches_of_places_in_steps_are_windows_with_gaps() {
    for seed in seeds(0..60) {
        let mut s = Sampler::new(seed);
        let mut d = draw(&mut s);
        let (parts, shape) = d.parted(false);
        let order = *s.pick(&[[3, 5, 0], [5, 3, 0], [0, 3, 5]]);
        let moved = transpose(&mut d.g, parts, &[&order[..], &[1, 2, 4]].concat());
        let ([n, c, h, w], [p, q]) = (d.shape, d.blocks);
        let image = reshape(&mut d.g, moved, &[n * p * q, c, h / p, w / q]);
        let weights = d.g.add_constant("w", f32s(&[5, c as usize, 2, 2], 0.5));
        let y = conv(&mut d.g, image, weights, 1);
        let y = node(&mut d.g, "tanh", &[y], Attrs::new());
        // And back.
        let extents = |axis: i64| match axis {
            0 => n,
            3 => p,
            _ => q,
        };
        let (rows, columns) = (h / p + 1, w / q + 1);
        let split = [&order.map(extents)[..], &[5, rows, columns]].concat();
        let y = reshape(&mut d.g, y, &split);
        let at = |axis: i64| order.iter().position(|o| *o == axis).unwrap() as i64;
        let y = transpose(&mut d.g, y, &[at(0), 3, 4, at(3), 5, at(5)]);
        let y = reshape(&mut d.g, y, &[n, 5, rows * p, columns * q]);
        d.g.add_output("y", y);
        assert!(!moves(&d.g), "seed {seed}");
        check(&d.g, &[f32s(&shape, 1.0)]);
    }
}

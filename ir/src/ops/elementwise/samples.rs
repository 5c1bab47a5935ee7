//! Samples for the generated tests.
use crate::dtype::DType;
use crate::graph::Attrs;
use crate::ops::types::ANY;
use crate::ops::{Sample, Sampler};

pub(super) fn unary_samples(s: &mut Sampler, types: &[DType], lo: f64, hi: f64) -> Vec<Sample> {
    let dtype = s.dtype(types);
    let rank = s.int(0, 3) as usize;
    let shape = s.shape(rank);
    vec![Sample::new(
        vec![s.tensor(dtype, &shape, lo, hi)],
        Attrs::new(),
    )]
}

/// Two shapes that broadcast.
pub fn broadcast_pair(s: &mut Sampler) -> (Vec<usize>, Vec<usize>) {
    let rank = s.int(0, 3) as usize;
    let full = s.shape(rank);
    let mut thin = |keep: i64| -> Vec<usize> {
        let drop = s.int(0, rank as i64).min(keep) as usize;
        full[drop..]
            .iter()
            .map(|d| if s.int(0, 3) == 0 { 1 } else { *d })
            .collect()
    };
    let a = thin(0);
    let b = thin(rank as i64);
    (a, b)
}

pub(super) fn binary_samples(s: &mut Sampler, types: &[DType], lo: f64, hi: f64) -> Vec<Sample> {
    let dtype = s.dtype(types);
    let (a, b) = broadcast_pair(s);
    let operands = vec![s.tensor(dtype, &a, lo, hi), s.tensor(dtype, &b, lo, hi)];
    vec![Sample::new(operands, Attrs::new())]
}

pub(super) fn fma_samples(s: &mut Sampler) -> Vec<Sample> {
    let dtype = s.dtype(&[DType::F32, DType::F64]);
    let (a, b) = broadcast_pair(s);
    let operands = [&a, &b, &a].map(|shape| s.tensor(dtype, shape, -4.0, 4.0));
    vec![Sample::new(operands.to_vec(), Attrs::new())]
}

pub(super) fn select_samples(s: &mut Sampler) -> Vec<Sample> {
    let dtype = s.dtype(ANY);
    let (a, b) = broadcast_pair(s);
    let c = s.tensor(DType::Bool, &a, 0.0, 1.0);
    vec![Sample::new(
        vec![
            c,
            s.tensor(dtype, &b, -4.0, 4.0),
            s.tensor(dtype, &a, -4.0, 4.0),
        ],
        Attrs::new(),
    )]
}

pub(super) fn cast_samples(s: &mut Sampler) -> Vec<Sample> {
    let (from, to) = (s.dtype(ANY), s.dtype(ANY));
    let shape = s.shape(2);
    let x = s.tensor(from, &shape, -300.0, 300.0);
    vec![Sample::new(vec![x], Attrs::new().with("to", to))]
}

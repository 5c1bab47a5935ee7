//! Random operands for the tests that are generated from the table.
use crate::dtype::DType;
use crate::graph::Attrs;
use crate::tensor::{Tensor, Wide};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Operands and attributes of one application of an op.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operands.
    pub inputs: Vec<Tensor>,
    /// The attributes.
    pub attrs: Attrs,
}

impl Sample {
    /// A sample.
    pub fn new(inputs: Vec<Tensor>, attrs: Attrs) -> Self {
        Sample { inputs, attrs }
    }
}

/// A seeded source of random shapes and tensors.
pub struct Sampler {
    rng: StdRng,
}

impl Sampler {
    /// A source that always draws the same for the same seed.
    pub fn new(seed: u64) -> Self {
        Sampler {
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// An integer in `lo..=hi`.
    pub fn int(&mut self, lo: i64, hi: i64) -> i64 {
        self.rng.random_range(lo..=hi)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let k = self.rng.random_range(0..items.len());
        &items[k]
    }

    /// One of several element types, `f32` more often if it is among them.
    pub fn dtype(&mut self, types: &[DType]) -> DType {
        if types.contains(&DType::F32) && self.int(0, 2) == 0 {
            return DType::F32;
        }
        *self.pick(types)
    }

    /// An extent: often small and odd, sometimes 1, seldom 0, sometimes around vector widths.
    pub fn extent(&mut self) -> usize {
        *self.pick(&[0, 1, 1, 2, 3, 3, 5, 7, 8, 9, 15, 16, 17, 33])
    }

    /// An extent that is not 0.
    pub fn positive(&mut self) -> usize {
        self.extent().max(1)
    }

    /// A shape of `rank` extents with at most some thousands of elements.
    pub fn shape(&mut self, rank: usize) -> Vec<usize> {
        loop {
            let shape: Vec<usize> = (0..rank).map(|_| self.extent()).collect();
            if shape.iter().product::<usize>() <= 4096 {
                return shape;
            }
        }
    }

    /// A tensor of values in `lo..=hi` (integers: whole numbers in it, clipped to the type).
    pub fn tensor(&mut self, dtype: DType, shape: &[usize], lo: f64, hi: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let wide = match dtype.int_range() {
            None => Wide::Float((0..count).map(|_| self.rng.random_range(lo..=hi)).collect()),
            Some((least, most)) => {
                let (lo, hi) = ((lo as i128).max(least), (hi as i128).min(most));
                Wide::Int(
                    (0..count)
                        .map(|_| i128::from(self.int(lo as i64, hi as i64)))
                        .collect(),
                )
            }
        };
        Tensor::from_wide(dtype, shape.to_vec(), &wide)
    }
}

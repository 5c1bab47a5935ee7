//! Coordinates in x of positions in y, as the operator states them.
//!
//! Those of nearest elements are computed in single precision, step by step as onnxruntime does:
//! which of two elements is nearer is then decided as models were tested.
use super::num;
use crate::dtype::DType;
use crate::loops::{BinaryOp, Scalar};

/// What coordinates are computed in: numbers, or scalars of loops.
pub(super) trait Number: Clone {
    fn of(value: f64) -> Self;
    fn binary(op: BinaryOp, a: Self, b: Self) -> Self;
    /// The same, rounded to single precision.
    fn single(self) -> Self;
    /// `then` if this is 1.
    fn if_one(&self, then: Self, otherwise: Self) -> Self;
}

impl Number for f64 {
    fn of(value: f64) -> f64 {
        value
    }

    fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
        match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            _ => a / b,
        }
    }

    fn single(self) -> f64 {
        f64::from(self as f32)
    }

    fn if_one(&self, then: f64, otherwise: f64) -> f64 {
        if *self == 1.0 { then } else { otherwise }
    }
}

impl Number for Scalar {
    fn of(value: f64) -> Scalar {
        num(value)
    }

    fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
        Scalar::binary(op, a, b)
    }

    fn single(self) -> Scalar {
        Scalar::cast(DType::F64, Scalar::cast(DType::F32, self))
    }

    fn if_one(&self, then: Scalar, otherwise: Scalar) -> Scalar {
        let one = Scalar::binary(BinaryOp::Eq, self.clone(), num(1.0));
        Scalar::select(one, then, otherwise)
    }
}

/// One axis, and how its coordinates are computed.
pub(super) struct Line<'a, N> {
    pub coordinate: &'a str,
    /// Extents of x and y.
    pub n: N,
    pub size: N,
    /// The scale that is given, if one is.
    pub scale: Option<f64>,
    /// The part of x that is cropped, as shares of its extent.
    pub region: (f64, f64),
    /// Whether each step is rounded to single precision.
    pub single: bool,
}

impl<N: Number> Line<'_, N> {
    fn of(&self, op: BinaryOp, a: N, b: N) -> N {
        let y = N::binary(op, a, b);
        if self.single { y.single() } else { y }
    }

    fn add(&self, a: N, b: N) -> N {
        self.of(BinaryOp::Add, a, b)
    }

    fn sub(&self, a: N, b: N) -> N {
        self.of(BinaryOp::Sub, a, b)
    }

    fn mul(&self, a: N, b: N) -> N {
        self.of(BinaryOp::Mul, a, b)
    }

    fn div(&self, a: N, b: N) -> N {
        self.of(BinaryOp::Div, a, b)
    }

    fn scale(&self) -> N {
        match self.scale {
            Some(scale) => N::of(scale),
            None => self.div(self.size.clone(), self.n.clone()),
        }
    }

    /// The extent of y before it was rounded to a whole number.
    fn length(&self) -> N {
        match self.scale {
            Some(scale) => self.mul(N::of(scale), self.n.clone()),
            None => self.size.clone(),
        }
    }

    /// The coordinate in x of position `o` in y.
    pub fn at(&self, o: N) -> N {
        let (zero, one, half) = (N::of(0.0), N::of(1.0), N::of(0.5));
        let last = || self.sub(self.n.clone(), one.clone());
        let steps = || self.sub(self.length(), one.clone());
        let centre = |o| {
            let scaled = self.div(self.add(o, half.clone()), self.scale());
            self.sub(scaled, half.clone())
        };
        match self.coordinate {
            "align_corners" => {
                let spread = self.div(self.mul(o, last()), steps());
                self.length().if_one(zero, spread)
            }
            "asymmetric" => self.div(o, self.scale()),
            "tf_crop_and_resize" => {
                let (start, end) = self.region;
                let share = self.sub(N::of(end), N::of(start));
                let middle = self.mul(self.mul(share.clone(), last()), half.clone());
                let spread = self.div(self.mul(self.mul(o, share), last()), steps());
                let within = self.length().if_one(middle, spread);
                self.add(within, self.mul(N::of(start), last()))
            }
            "pytorch_half_pixel" => self.length().if_one(zero, centre(o)),
            "half_pixel_symmetric" => {
                let rest = self.sub(one, self.div(self.size.clone(), self.length()));
                let offset = self.mul(self.mul(self.n.clone(), half.clone()), rest);
                self.add(offset, centre(o))
            }
            _ => centre(o),
        }
    }
}

/// A coordinate rounded to the nearest element; single precision is no matter here.
pub(super) fn nearest(x: f64, rounding: &str) -> f64 {
    match rounding {
        "round_prefer_floor" => (x - 0.5).ceil(),
        "round_prefer_ceil" => (x + 0.5).floor(),
        "floor" => x.floor(),
        _ => x.ceil(),
    }
}

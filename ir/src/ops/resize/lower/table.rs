//! Tables of positions and weights, where coordinates move by no known ratio, or where weights are
//! normalised.
use super::super::super::movement::convert;
use super::super::{stretch, taps};
use super::{Axis, add, div, mul, num, sub};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};

fn less(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Lt, a, b)
}

/// The `f64` value of an index expression.
fn number(e: &Expr) -> Scalar {
    match e.as_const() {
        Some(n) => num(n as f64),
        None => Scalar::cast(DType::F64, Scalar::Index(e.clone())),
    }
}

/// Positions and weights by position in y and tap.
pub(super) struct Table {
    pub positions: BufferId,
    pub weights: Option<BufferId>,
    pub outside: Option<BufferId>,
    pub taps: i64,
}

impl Axis<'_> {
    /// A coordinate rounded to the nearest element.
    fn round(&self, x: Scalar) -> Scalar {
        match self.attrs.str("nearest") {
            "round_prefer_floor" => Scalar::unary(UnaryOp::Ceil, sub(x, num(0.5))),
            "round_prefer_ceil" => Scalar::unary(UnaryOp::Floor, add(x, num(0.5))),
            "floor" => Scalar::unary(UnaryOp::Floor, x),
            _ => Scalar::unary(UnaryOp::Ceil, x),
        }
    }

    /// A whole number as the nearest position in x.
    fn clamp(&self, at: Scalar) -> Scalar {
        let last = sub(number(self.n), num(1.0));
        let below = Scalar::binary(BinaryOp::Min, at, last);
        let inside = Scalar::binary(BinaryOp::Max, below, num(0.0));
        Scalar::cast(DType::I64, inside)
    }

    /// The weight of the tap at `at` for coordinate `x`, not normalised.
    fn weight(&self, cx: &mut Define<'_>, at: &Scalar, x: &Scalar) -> Scalar {
        let stretch = stretch(self.attrs, self.d, self.n)
            .expect("invariant: inference refuses unknown stretches");
        let distance = Scalar::unary(UnaryOp::Abs, sub(at.clone(), x.clone()));
        let distance = cx.bind(mul(distance, num(stretch)));
        let weight = match self.attrs.str("mode") {
            "linear" => Scalar::binary(BinaryOp::Max, sub(num(1.0), distance), num(0.0)),
            _ => cubic(self.attrs.float("cubic_coeff"), distance),
        };
        if !self.attrs.flag("exclude_outside") {
            return weight;
        }
        let last = sub(number(self.n), num(1.0));
        let outside = Scalar::binary(
            BinaryOp::Or,
            less(at.clone(), num(0.0)),
            less(last, at.clone()),
        );
        Scalar::select(outside, num(0.0), weight)
    }

    /// Fills the table of this axis.
    pub(super) fn fill(&self, cx: &mut Define<'_>, compute: DType) -> Table {
        let (first, taps) =
            taps(self.attrs, self.d, self.n).expect("invariant: inference refuses too many taps");
        let shape = vec![self.size.clone(), taps.into()];
        let nearest = self.attrs.str("mode") == "nearest";
        let crops = self.attrs.str("coordinate") == "tf_crop_and_resize";
        let table = Table {
            positions: cx.scratch(DType::I64, shape.clone()),
            weights: (!nearest).then(|| cx.scratch(compute, shape)),
            outside: crops.then(|| cx.scratch(DType::Bool, vec![self.size.clone()])),
            taps,
        };
        let line = self.line(number(self.n), number(self.size));
        cx.nest(
            std::slice::from_ref(self.size),
            Role::Space,
            &mut |cx, vars| {
                let o = &vars[0];
                let x = cx.bind(line.at(number(o)));
                if let Some(outside) = table.outside {
                    let last = sub(number(self.n), num(1.0));
                    let (below, above) = (less(x.clone(), num(0.0)), less(last, x.clone()));
                    cx.store(
                        outside,
                        vec![o.clone()],
                        Scalar::binary(BinaryOp::Or, below, above),
                    );
                }
                match table.weights {
                    None => {
                        let at = self.clamp(self.round(x));
                        cx.store(table.positions, vec![o.clone(), 0.into()], at);
                    }
                    Some(weights) => self.fill_taps(cx, o, x, (first, &table), (weights, compute)),
                }
            },
        );
        table
    }

    /// Fills positions and weights for position `o` of y with coordinate `x`.
    fn fill_taps(
        &self,
        cx: &mut Define<'_>,
        o: &Expr,
        x: Scalar,
        (first, table): (i64, &Table),
        (weights, compute): (BufferId, DType),
    ) {
        let floor = add(Scalar::unary(UnaryOp::Floor, x.clone()), num(first as f64));
        let base = cx.bind(floor);
        let tap = |t: &Expr| add(base.clone(), number(t));
        let taps = [Expr::from(table.taps)];
        let normalise = self.attrs.flag("antialias") || self.attrs.flag("exclude_outside");
        let total = normalise.then(|| {
            let zero = Const::new(DType::F64, 0.0);
            let total = cx.reduce(&taps, BinaryOp::Add, zero, &mut |cx, vars| {
                self.weight(cx, &tap(&vars[0]), &x)
            });
            let none = Scalar::binary(BinaryOp::Eq, total.clone(), num(0.0));
            cx.bind(Scalar::select(none, num(1.0), total))
        });
        cx.nest(&taps, Role::Serial, &mut |cx, vars| {
            let at = cx.bind(tap(&vars[0]));
            let mut weight = self.weight(cx, &at, &x);
            if let Some(total) = &total {
                weight = div(weight, total.clone());
            }
            let slot = vec![o.clone(), vars[0].clone()];
            cx.store(weights, slot.clone(), convert(compute, DType::F64, weight));
            cx.store(table.positions, slot, self.clamp(at));
        });
    }
}

/// The cubic convolution kernel with coefficient `a` at a distance, as products that do not
/// cancel near its zeros 1 and 2.
fn cubic(a: f64, d: Scalar) -> Scalar {
    let from_one = || sub(d.clone(), num(1.0));
    let from_two = || sub(d.clone(), num(2.0));
    let square = mul(mul(num(a + 2.0), d.clone()), d.clone());
    let near = mul(from_one(), sub(sub(square, d.clone()), num(1.0)));
    let far = mul(mul(num(a), from_one()), mul(from_two(), from_two()));
    let far = Scalar::select(less(d.clone(), num(2.0)), far, num(0.0));
    Scalar::select(less(num(1.0), d), far, near)
}

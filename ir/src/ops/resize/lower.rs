//! Definition in loops. Where coordinates of linear resampling move by a ratio of whole numbers,
//! positions and weights are quotients and remainders; else the definition fills, per resized axis,
//! a table of both, and then goes over the result.
use super::super::movement::convert;
use super::{is_kept, known_scale, stretch, taps};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::{Attrs, NodeId};
use crate::integer::gcd;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};

fn num(value: f64) -> Scalar {
    Scalar::num(DType::F64, value)
}

fn add(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Add, a, b)
}

fn sub(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Sub, a, b)
}

fn mul(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Mul, a, b)
}

fn div(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Div, a, b)
}

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

/// One axis of the result.
struct Axis<'a> {
    attrs: &'a Attrs,
    d: usize,
    /// Extents of x and y.
    n: &'a Expr,
    size: &'a Expr,
}

/// How positions on an axis of x follow from those of y.
enum Source {
    /// The quotient by a whole number.
    Quotient(i64),
    /// Two neighbours, by a ratio of whole numbers.
    Between(Ratio),
    Table(Table),
}

/// A coordinate that moves by a known ratio: `(step * o + start) / divisor`.
#[derive(Clone, Copy)]
struct Ratio {
    step: i64,
    start: i64,
    divisor: i64,
    /// The extent of x.
    n: i64,
}

impl Ratio {
    fn new(step: i64, start: i64, divisor: i64, n: i64) -> Self {
        let common = gcd(gcd(step, start), divisor).max(1);
        Ratio {
            step: step / common,
            start: start / common,
            divisor: divisor / common,
            n,
        }
    }

    /// The position of neighbour `tap`, 0 or 1, of position `o` in y.
    fn position(self, o: &Expr, tap: i64) -> Expr {
        let below = (o.clone() * self.step + self.start).div(self.divisor);
        (below + tap).at_most(self.n - 1).at_least(0)
    }

    /// How far the coordinate of position `o` is past its lower neighbour.
    fn past(self, o: &Expr, compute: DType) -> Scalar {
        let part = (o.clone() * self.step + self.start).rem(self.divisor);
        let part = Scalar::cast(compute, Scalar::Index(part));
        mul(part, Scalar::num(compute, 1.0 / self.divisor as f64))
    }
}

/// Positions and weights by position in y and tap.
struct Table {
    positions: BufferId,
    weights: Option<BufferId>,
    outside: Option<BufferId>,
    taps: i64,
}

impl Axis<'_> {
    /// The number that positions are divided by, where nearest elements come down to that.
    fn quotient(&self) -> Option<i64> {
        if is_kept(self.attrs, self.d, self.n) {
            return Some(1);
        }
        let k = self.size.div(self.n).as_const().filter(|k| *k > 0)?;
        let whole = self.n.clone() * k == *self.size
            && self
                .attrs
                .floats("scales")
                .get(self.d)
                .is_none_or(|s| *s == k as f64);
        let (coordinate, nearest) = (self.attrs.str("coordinate"), self.attrs.str("nearest"));
        let plain = match coordinate {
            "asymmetric" => nearest == "floor",
            "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel" => {
                nearest.starts_with("round")
            }
            _ => false,
        };
        (whole && plain && self.attrs.str("mode") == "nearest").then_some(k)
    }

    /// The ratio by which linear coordinates move, where that is known.
    fn ratio(&self) -> Option<Ratio> {
        let plain = !self.attrs.flag("antialias") && !self.attrs.flag("exclude_outside");
        if self.attrs.str("mode") != "linear" || !plain {
            return None;
        }
        let known = |e: &Expr| e.as_const().filter(|n| (1..1 << 24).contains(n));
        let (n, size) = (known(self.n)?, known(self.size)?);
        let scale = self.attrs.floats("scales").get(self.d);
        if scale.is_some_and(|s| s * n as f64 != size as f64) {
            return None;
        }
        match self.attrs.str("coordinate") {
            "half_pixel" | "half_pixel_symmetric" => Some(Ratio::new(2 * n, n - size, 2 * size, n)),
            "pytorch_half_pixel" if size > 1 => Some(Ratio::new(2 * n, n - size, 2 * size, n)),
            "asymmetric" => Some(Ratio::new(n, 0, size, n)),
            "align_corners" if size > 1 => Some(Ratio::new(n - 1, 0, size - 1, n)),
            _ => None,
        }
    }

    fn source(&self) -> Option<Source> {
        let quotient = self.quotient().map(Source::Quotient);
        quotient.or_else(|| self.ratio().map(Source::Between))
    }

    fn scale(&self) -> Scalar {
        match known_scale(self.attrs, self.d, self.n) {
            Some(scale) => num(scale),
            None => div(number(self.size), number(self.n)),
        }
    }

    /// The extent of y before it was rounded to a whole number.
    fn length(&self) -> Scalar {
        match self.attrs.floats("scales").get(self.d) {
            Some(_) => mul(self.scale(), number(self.n)),
            None => number(self.size),
        }
    }

    /// The coordinate in x of position `o` in y.
    fn coordinate(&self, o: &Expr) -> Scalar {
        let o = number(o);
        let last = || sub(number(self.n), num(1.0));
        let single = || Scalar::binary(BinaryOp::Eq, self.length(), num(1.0));
        let steps = || sub(self.length(), num(1.0));
        let centre = || sub(div(add(o.clone(), num(0.5)), self.scale()), num(0.5));
        match self.attrs.str("coordinate") {
            "align_corners" => {
                let spread = div(mul(o.clone(), last()), steps());
                Scalar::select(single(), num(0.0), spread)
            }
            "asymmetric" => div(o, self.scale()),
            "tf_crop_and_resize" => {
                let roi = self.attrs.floats("roi");
                let (start, end) = (roi[self.d], roi[roi.len() / 2 + self.d]);
                let middle = div(mul(num(end - start), last()), num(2.0));
                let spread = div(mul(mul(o.clone(), num(end - start)), last()), steps());
                let within = Scalar::select(single(), middle, spread);
                add(within, mul(num(start), last()))
            }
            "pytorch_half_pixel" => Scalar::select(single(), num(0.0), centre()),
            "half_pixel_symmetric" => {
                let rest = sub(num(1.0), div(number(self.size), self.length()));
                add(mul(div(number(self.n), num(2.0)), rest), centre())
            }
            _ => centre(),
        }
    }

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
    fn fill(&self, cx: &mut Define<'_>, compute: DType) -> Table {
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
        cx.nest(
            std::slice::from_ref(self.size),
            Role::Space,
            &mut |cx, vars| {
                let o = &vars[0];
                let x = cx.bind(self.coordinate(o));
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

pub(super) fn define(cx: &mut Define<'_>, node: NodeId) {
    let attrs = &cx.node(node).attrs;
    let x = cx.operand_type(node, 0);
    let axes: Vec<Axis<'_>> = x
        .shape
        .iter()
        .zip(attrs.dims("sizes"))
        .enumerate()
        .map(|(d, (n, size))| Axis { attrs, d, n, size })
        .collect();
    let compute = if x.dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let out = cx.output_buffer(cx.node(node).outputs[0]);
    // Where one axis needs a table, the others have one, too, unless they are quotients.
    let known = axes.iter().all(|a| a.source().is_some());
    let source = |axis: &Axis<'_>| match known {
        true => axis.source(),
        false => axis.quotient().map(Source::Quotient),
    };
    let first = axes.iter().position(|a| source(a).is_none());
    let (outer, inner) = axes.split_at(first.unwrap_or(axes.len()));
    let extents = |axes: &[Axis<'_>]| axes.iter().map(|a| a.size.clone()).collect::<Vec<_>>();
    let mut outer_extents = extents(outer);
    if outer.is_empty() {
        // Tables belong to an iteration: scratch memory does not outlast one.
        outer_extents.push(1.into());
    }
    cx.nest(&outer_extents, Role::Space, &mut |cx, vars| {
        let before = &vars[..outer.len()];
        let sources: Vec<Source> = axes
            .iter()
            .map(|axis| match source(axis) {
                Some(source) => source,
                None => Source::Table(axis.fill(cx, compute)),
            })
            .collect();
        cx.nest(&extents(inner), Role::Space, &mut |cx, vars| {
            let index = [before, vars].concat();
            let y = define_element(cx, node, &sources, &index, compute);
            cx.store(out, index, y);
        });
    });
}

/// The element of y at an index.
fn define_element(
    cx: &mut Define<'_>,
    node: NodeId,
    sources: &[Source],
    index: &[Expr],
    compute: DType,
) -> Scalar {
    let dtype = cx.result_type(node, 0).dtype;
    let tables = || {
        sources.iter().filter_map(|s| match s {
            Source::Table(table) => Some(table),
            Source::Quotient(_) | Source::Between(_) => None,
        })
    };
    let between = sources.iter().any(|s| matches!(s, Source::Between(_)));
    let value = if between {
        let sum = interpolate(cx, node, sources, index, compute);
        convert(dtype, compute, sum)
    } else if tables().any(|t| t.weights.is_some()) {
        let taps: Vec<Expr> = tables().map(|t| t.taps.into()).collect();
        let zero = Const::new(compute, 0.0);
        let sum = cx.reduce(&taps, BinaryOp::Add, zero, &mut |cx, taps| {
            let (x, weights) = read(cx, node, sources, index, taps);
            weights.into_iter().fold(convert(compute, dtype, x), mul)
        });
        convert(dtype, compute, sum)
    } else {
        let taps = vec![Expr::from(0); tables().count()];
        read(cx, node, sources, index, &taps).0
    };
    let flags = sources
        .iter()
        .zip(index)
        .filter_map(|(source, o)| match source {
            Source::Table(table) => Some(Scalar::load(table.outside?, vec![o.clone()])),
            Source::Quotient(_) | Source::Between(_) => None,
        });
    let extrapolation = cx.node(node).attrs.float("extrapolation");
    match flags.reduce(|a, b| Scalar::binary(BinaryOp::Or, a, b)) {
        Some(outside) => Scalar::select(outside, Scalar::num(dtype, extrapolation), value),
        None => value,
    }
}

/// What lies between neighbours, on all axes that have them.
fn interpolate(
    cx: &mut Define<'_>,
    node: NodeId,
    sources: &[Source],
    index: &[Expr],
    compute: DType,
) -> Scalar {
    let axes = sources.iter().zip(index).map(|(source, o)| match source {
        Source::Quotient(k) => vec![(o.div(*k), None)],
        Source::Between(ratio) => {
            let past = cx.bind(ratio.past(o, compute));
            let before = cx.bind(sub(Scalar::num(compute, 1.0), past.clone()));
            let weights = [before, past].into_iter().enumerate();
            let tap = |(tap, w)| (ratio.position(o, tap as i64), Some(w));
            weights.map(tap).collect()
        }
        Source::Table(_) => unreachable!("invariant: no axis has a table where one has a ratio"),
    });
    let axes: Vec<Vec<(Expr, Option<Scalar>)>> = axes.collect();
    between(cx, node, &axes, compute, &[])
}

/// The weighted sum over the axes behind those of which `own` has the positions in x.
fn between(
    cx: &mut Define<'_>,
    node: NodeId,
    axes: &[Vec<(Expr, Option<Scalar>)>],
    compute: DType,
    own: &[Expr],
) -> Scalar {
    let Some((axis, others)) = axes.split_first() else {
        let dtype = cx.result_type(node, 0).dtype;
        let x = cx.operand(node, 0, own);
        return convert(compute, dtype, x);
    };
    let parts = axis.iter().map(|(position, weight)| {
        let own = [own, std::slice::from_ref(position)].concat();
        let x = between(cx, node, others, compute, &own);
        match weight {
            Some(weight) => mul(x, weight.clone()),
            None => x,
        }
    });
    let parts: Vec<Scalar> = parts.collect();
    let sum = parts.into_iter().reduce(add);
    cx.bind(sum.expect("invariant: each axis has a position"))
}

/// The element of x at a tap of each table, and the taps' weights.
fn read(
    cx: &mut Define<'_>,
    node: NodeId,
    sources: &[Source],
    index: &[Expr],
    taps: &[Expr],
) -> (Scalar, Vec<Scalar>) {
    let (mut own, mut weights, mut taps) = (Vec::new(), Vec::new(), taps.iter());
    for (d, (source, o)) in sources.iter().zip(index).enumerate() {
        own.push(match source {
            Source::Quotient(k) => o.div(*k),
            Source::Between(_) => unreachable!("invariant: interpolated elsewhere"),
            Source::Table(table) => {
                let tap = taps.next().expect("invariant: one tap per table");
                let slot = vec![o.clone(), tap.clone()];
                weights.extend(table.weights.map(|w| Scalar::load(w, slot.clone())));
                let at = Scalar::load(table.positions, slot);
                let extent = &cx.operand_type(node, 0).shape[d];
                cx.checked(node, &format!("position on axis {d}"), at, extent)
            }
        });
    }
    (cx.operand(node, 0, &own), weights)
}

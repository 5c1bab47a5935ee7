//! Writes bodies: values with the operators of arithmetic that record what is computed.
use super::MathBody;
use crate::dtype::DType;
use crate::loops::{BinaryOp, BufferId, Const, Scalar, UnaryOp};
use std::cell::RefCell;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Range, Shl, Shr, Sub};

/// A body in the making.
pub(super) struct Code {
    params: Vec<DType>,
    lets: RefCell<Vec<(DType, Scalar)>>,
    /// What is seldom needed.
    rare: RefCell<Option<Range<usize>>>,
}

/// A value of a body: a constant, a parameter or a register.
#[derive(Clone, Copy)]
pub(super) struct V<'c> {
    code: &'c Code,
    dtype: DType,
    node: Node,
}

#[derive(Clone, Copy)]
enum Node {
    Const(Const),
    Register(u32),
}

impl Code {
    /// An empty body.
    pub(super) fn new(params: Vec<DType>) -> Self {
        Code {
            params,
            lets: RefCell::default(),
            rare: RefCell::default(),
        }
    }

    /// A parameter.
    pub(super) fn param(&self, k: usize) -> V<'_> {
        V {
            code: self,
            dtype: self.params[k],
            node: Node::Register(k as u32),
        }
    }

    /// A number.
    pub(super) fn num(&self, dtype: DType, value: f64) -> V<'_> {
        V {
            code: self,
            dtype,
            node: Node::Const(Const::new(dtype, value)),
        }
    }

    fn push(&self, dtype: DType, value: Scalar) -> V<'_> {
        let mut lets = self.lets.borrow_mut();
        let known = lets.iter().position(|(_, s)| *s == value);
        let k = known.unwrap_or_else(|| {
            lets.push((dtype, value));
            lets.len() - 1
        });
        V {
            code: self,
            dtype,
            node: Node::Register((self.params.len() + k) as u32),
        }
    }
}

/// Writes a body with `write`, which gets the parameters and returns the result.
pub(super) fn build(params: Vec<DType>, write: impl Fn(&Code) -> V<'_>) -> MathBody {
    let code = Code::new(params);
    let Node::Register(result) = write(&code).node else {
        panic!("invariant: a body computes its result");
    };
    finish(code, result)
}

/// Drops what is not used, and puts what is used once into the place where it is used.
fn finish(code: Code, result: u32) -> MathBody {
    let (params, lets) = (code.params, code.lets.into_inner());
    let first = params.len();
    let last = (result as usize)
        .checked_sub(first)
        .expect("invariant: a body computes its result");
    let mut uses = vec![0; lets.len()];
    uses[last] = 2;
    for k in (0..=last).rev() {
        if uses[k] > 0 {
            lets[k].1.visit(&mut |s| {
                if let Some(j) = register(s).and_then(|r| r.checked_sub(first)) {
                    uses[j] += 1;
                }
            });
        }
    }
    let mut place: Vec<Scalar> = (0..first as u32).map(load).collect();
    let mut kept = Vec::new();
    let mut kept_before = Vec::new();
    for (k, (dtype, mut value)) in lets.into_iter().enumerate().take(last + 1) {
        kept_before.push(kept.len());
        if uses[k] == 0 {
            place.push(Scalar::num(DType::Bool, 0.0));
            continue;
        }
        substitute(&mut value, &place);
        if uses[k] == 1 {
            place.push(value);
        } else {
            place.push(load((first + kept.len()) as u32));
            kept.push((dtype, value));
        }
    }
    let rare = code.rare.into_inner();
    let rare = rare.map(|r| kept_before[r.start]..kept_before[r.end]);
    debug_assert!(rare.as_ref().is_none_or(|r| r.end + 1 == kept.len()));
    MathBody {
        params,
        lets: kept,
        rare,
    }
}

fn load(register: u32) -> Scalar {
    Scalar::load(BufferId(register), vec![])
}

fn register(s: &Scalar) -> Option<usize> {
    match s {
        Scalar::Load(b, _) => Some(b.0 as usize),
        _ => None,
    }
}

fn substitute(value: &mut Scalar, place: &[Scalar]) {
    match register(value) {
        Some(r) => *value = place[r].clone(),
        None => value
            .children_mut()
            .into_iter()
            .for_each(|c| substitute(c, place)),
    }
}

impl<'c> V<'c> {
    fn scalar(self) -> Scalar {
        match self.node {
            Node::Const(c) => Scalar::Const(c),
            Node::Register(r) => load(r),
        }
    }

    /// A number of this value's type.
    pub(super) fn num(self, value: f64) -> V<'c> {
        self.code.num(self.dtype, value)
    }

    /// A constant of this value's type, by its bits.
    pub(super) fn bits(self, bits: u64) -> V<'c> {
        let node = Node::Const(Const {
            dtype: self.dtype,
            bits,
        });
        V { node, ..self }
    }

    fn unary(self, op: UnaryOp) -> V<'c> {
        self.code.push(self.dtype, Scalar::unary(op, self.scalar()))
    }

    fn binary(self, op: BinaryOp, other: V<'c>) -> V<'c> {
        debug_assert_eq!(self.dtype, other.dtype, "operands of {op:?}");
        let dtype = if op.is_compare() {
            DType::Bool
        } else {
            self.dtype
        };
        let value = Scalar::binary(op, self.scalar(), other.scalar());
        self.code.push(dtype, value)
    }

    /// Absolute value.
    pub(super) fn abs(self) -> V<'c> {
        self.unary(UnaryOp::Abs)
    }

    /// Square root.
    pub(super) fn sqrt(self) -> V<'c> {
        self.unary(UnaryOp::Sqrt)
    }

    /// Towards minus infinity.
    pub(super) fn floor(self) -> V<'c> {
        self.unary(UnaryOp::Floor)
    }

    /// Towards zero.
    pub(super) fn trunc(self) -> V<'c> {
        self.unary(UnaryOp::Trunc)
    }

    /// `self * b + c`, rounded once.
    pub(super) fn fma(self, b: V<'c>, c: V<'c>) -> V<'c> {
        let operands = [self, b, c].map(|v| Box::new(v.scalar()));
        let [x, y, z] = operands;
        self.code.push(self.dtype, Scalar::Fma(x, y, z))
    }

    /// `self * 2^n`, for an integer `n`.
    pub(super) fn scale(self, n: V<'c>) -> V<'c> {
        self.binary(BinaryOp::Scale, n)
    }

    /// Less.
    pub(super) fn lt(self, other: V<'c>) -> V<'c> {
        self.binary(BinaryOp::Lt, other)
    }

    /// Equal.
    pub(super) fn eq(self, other: V<'c>) -> V<'c> {
        self.binary(BinaryOp::Eq, other)
    }

    /// Not equal.
    pub(super) fn ne(self, other: V<'c>) -> V<'c> {
        self.binary(BinaryOp::Ne, other)
    }

    /// The lesser, or this value if it is NaN: one instruction on most machines, as the IEEE
    /// minimum is not.
    pub(super) fn at_most(self, limit: f64) -> V<'c> {
        let limit = self.num(limit);
        limit.lt(self).select(limit, self)
    }

    /// The greater, or this value if it is NaN.
    pub(super) fn at_least(self, limit: f64) -> V<'c> {
        let limit = self.num(limit);
        self.lt(limit).select(limit, self)
    }

    /// `self ? a : b`.
    pub(super) fn select(self, a: V<'c>, b: V<'c>) -> V<'c> {
        debug_assert_eq!((self.dtype, a.dtype), (DType::Bool, b.dtype));
        let value = Scalar::select(self.scalar(), a.scalar(), b.scalar());
        self.code.push(a.dtype, value)
    }

    /// `self ? rare() : common`, where the former is seldom needed; the last step of a body.
    pub(super) fn rarely(self, rare: impl FnOnce() -> V<'c>, common: V<'c>) -> V<'c> {
        let count = || self.code.lets.borrow().len();
        let start = count();
        let rare = rare();
        *self.code.rare.borrow_mut() = Some(start..count());
        self.select(rare, common)
    }

    /// A conversion.
    pub(super) fn cast(self, dtype: DType) -> V<'c> {
        if dtype == self.dtype {
            return self;
        }
        self.code.push(dtype, Scalar::cast(dtype, self.scalar()))
    }

    /// The same bits as another type.
    pub(super) fn bitcast(self, dtype: DType) -> V<'c> {
        let value = Scalar::Bitcast(dtype, Box::new(self.scalar()));
        self.code.push(dtype, value)
    }

    /// A polynomial in this value; coefficients from the lowest degree up.
    pub(super) fn poly(self, coefficients: &[f64]) -> V<'c> {
        let (top, rest) = coefficients
            .split_last()
            .expect("invariant: a polynomial has coefficients");
        rest.iter()
            .rev()
            .fold(self.num(*top), |acc, c| acc.fma(self, self.num(*c)))
    }
}

macro_rules! operator {
    ($($name:ident, $method:ident, $op:ident;)*) => {$(
        impl<'c> $name for V<'c> {
            type Output = V<'c>;
            fn $method(self, other: V<'c>) -> V<'c> { self.binary(BinaryOp::$op, other) }
        }
        impl<'c> $name<f64> for V<'c> {
            type Output = V<'c>;
            fn $method(self, other: f64) -> V<'c> { self.binary(BinaryOp::$op, self.num(other)) }
        }
    )*};
}
operator! {
    Add, add, Add;
    Sub, sub, Sub;
    Mul, mul, Mul;
    Div, div, Div;
    BitAnd, bitand, And;
    BitOr, bitor, Or;
    BitXor, bitxor, Xor;
    Shl, shl, Shl;
    Shr, shr, Shr;
}

impl<'c> Neg for V<'c> {
    type Output = V<'c>;

    fn neg(self) -> V<'c> {
        self.unary(UnaryOp::Neg)
    }
}

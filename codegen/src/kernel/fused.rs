//! Fused multiply-add, also for targets without the instruction.
//!
//! Such targets compute in wider steps whose errors are kept, and round to odd before the last
//! one, so that the result is rounded as if once: always for `f32`; for `f64` where no step
//! over- or underflows, else as a product and a sum.
//!
//! Source: Boldo and Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms
//! using rounding to odd, IEEE Transactions on Computers 57(4), 2008; Dekker, A floating-point
//! technique for extending the available precision, Numerische Mathematik 18, 1971.
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

/// `a*b + c` rounded once; `native` states whether the target has the instruction.
pub(super) fn fma(b: &mut FunctionBuilder<'_>, native: bool, [x, y, z]: [Value; 3]) -> Value {
    let ty = b.func.dfg.value_type(x);
    match ty {
        _ if native => b.ins().fma(x, y, z),
        types::F32 => {
            let [x, y, z] = [x, y, z].map(|v| b.ins().fpromote(types::F64, v));
            let exact = Steps::new(b, types::F64).product_of_f32(x, y, z);
            b.ins().fdemote(types::F32, exact)
        }
        types::F32X4 => {
            let halves = [false, true].map(|high| {
                let [x, y, z] = [x, y, z].map(|v| promote_half(b, v, high));
                let sum = Steps::new(b, types::F64X2).product_of_f32(x, y, z);
                let sum = b.ins().fvdemote(sum);
                bits(b, sum, types::I64X2)
            });
            let joined = interleave(b, halves);
            bits(b, joined, types::F32X4)
        }
        _ => Steps::new(b, ty).fma(x, y, z),
    }
}

fn bits(b: &mut FunctionBuilder<'_>, v: Value, ty: Type) -> Value {
    let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
    b.ins().bitcast(ty, flags, v)
}

/// Two lanes of an `f32x4` as `f64x2`.
fn promote_half(b: &mut FunctionBuilder<'_>, v: Value, high: bool) -> Value {
    if !high {
        return b.ins().fvpromote_low(v);
    }
    let wide = bits(b, v, types::I64X2);
    let upper = b.ins().extractlane(wide, 1);
    let moved = b.ins().scalar_to_vector(types::I64X2, upper);
    let moved = bits(b, moved, types::F32X4);
    b.ins().fvpromote_low(moved)
}

/// The lower lanes of two `i64x2`.
fn interleave(b: &mut FunctionBuilder<'_>, [low, high]: [Value; 2]) -> Value {
    let upper = b.ins().extractlane(high, 0);
    b.ins().insertlane(low, upper, 1)
}

/// Steps in `f64` or `f64x2`.
struct Steps<'a, 'f> {
    b: &'a mut FunctionBuilder<'f>,
    float: Type,
    int: Type,
}

impl<'a, 'f> Steps<'a, 'f> {
    fn new(b: &'a mut FunctionBuilder<'f>, float: Type) -> Self {
        let int = float.as_int();
        Steps { b, float, int }
    }

    /// `x*y + z` of numbers that are `f32`, rounded to odd.
    fn product_of_f32(mut self, x: Value, y: Value, z: Value) -> Value {
        let product = self.b.ins().fmul(x, y);
        self.odd_sum(product, z)
    }

    fn fma(mut self, x: Value, y: Value, z: Value) -> Value {
        let (high, low) = self.product(x, y);
        let (upper, lower) = self.sum(z, low);
        let (top, rest) = self.sum(high, upper);
        let tail = self.odd_sum(rest, lower);
        let fused = self.b.ins().fadd(top, tail);
        let plain = self.b.ins().fadd(high, z);
        let size = self.b.ins().fabs(fused);
        let infinity = self.number(f64::INFINITY);
        let finite = self.mask(FloatCC::LessThan, size, infinity);
        // The plain sum has the right sign where it is 0.
        let zero = self.number(0.0);
        let some = self.mask(FloatCC::GreaterThan, size, zero);
        let good = self.b.ins().band(finite, some);
        self.choose(good, fused, plain)
    }

    /// A sum and its error.
    fn sum(&mut self, x: Value, y: Value) -> (Value, Value) {
        let sum = self.b.ins().fadd(x, y);
        let second = self.b.ins().fsub(sum, x);
        let first = self.b.ins().fsub(sum, second);
        let (dx, dy) = (self.b.ins().fsub(x, first), self.b.ins().fsub(y, second));
        (sum, self.b.ins().fadd(dx, dy))
    }

    /// A product and its error.
    fn product(&mut self, x: Value, y: Value) -> (Value, Value) {
        let product = self.b.ins().fmul(x, y);
        let ((xh, xl), (yh, yl)) = (self.split(x), self.split(y));
        let mut error = self.b.ins().fneg(product);
        for (p, q) in [(xh, yh), (xh, yl), (xl, yh), (xl, yl)] {
            let part = self.b.ins().fmul(p, q);
            error = self.b.ins().fadd(error, part);
        }
        (product, error)
    }

    /// Two numbers of half the precision.
    fn split(&mut self, x: Value) -> (Value, Value) {
        let factor = self.number(134_217_729.0); // 2^27 + 1
        let scaled = self.b.ins().fmul(x, factor);
        let rest = self.b.ins().fsub(scaled, x);
        let high = self.b.ins().fsub(scaled, rest);
        (high, self.b.ins().fsub(x, high))
    }

    /// `x + y` towards 0, the last bit set if the sum is not exact.
    fn odd_sum(&mut self, x: Value, y: Value) -> Value {
        let (sum, error) = self.sum(x, y);
        let size = self.b.ins().fabs(error);
        let zero = self.number(0.0);
        let inexact = self.mask(FloatCC::GreaterThan, size, zero);
        let (s, e) = (bits(self.b, sum, self.int), bits(self.b, error, self.int));
        let signs = self.b.ins().bxor(s, e);
        let away = self.b.ins().ushr_imm_u(signs, 63);
        let cut = self.b.ins().isub(s, away);
        let one = self.b.ins().iconst(types::I64, 1);
        let one = self.spread(one);
        let odd = self.b.ins().bor(cut, one);
        let odd = bits(self.b, odd, self.float);
        self.choose(inexact, odd, sum)
    }

    fn number(&mut self, x: f64) -> Value {
        let x = self.b.ins().f64const(x);
        self.spread(x)
    }

    fn spread(&mut self, x: Value) -> Value {
        match self.float {
            types::F64 => x,
            _ => {
                let ty = self
                    .b
                    .func
                    .dfg
                    .value_type(x)
                    .by(2)
                    .expect("invariant: two lanes");
                self.b.ins().splat(ty, x)
            }
        }
    }

    /// All ones where the comparison holds.
    fn mask(&mut self, condition: FloatCC, x: Value, y: Value) -> Value {
        let holds = self.b.ins().fcmp(condition, x, y);
        match self.float {
            types::F64 => self.b.ins().bmask(types::I64, holds),
            _ => holds,
        }
    }

    fn choose(&mut self, mask: Value, x: Value, y: Value) -> Value {
        let (x, y) = (bits(self.b, x, self.int), bits(self.b, y, self.int));
        let chosen = self.b.ins().bitselect(mask, x, y);
        bits(self.b, chosen, self.float)
    }
}

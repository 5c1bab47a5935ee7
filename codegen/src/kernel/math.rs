//! Bodies of the math table to Cranelift IR, in lock step over the open lanes.
use super::scalar::Val;
use super::{Emitter, fused};
use crate::error::CodegenError;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::math::{self, MathBody, MathFn};
use tensmith_ir::loops::{BinaryOp, Scalar};

impl Emitter<'_, '_> {
    pub(super) fn call(&mut self, f: MathFn, args: &[Scalar]) -> Result<Val, CodegenError> {
        let args = args
            .iter()
            .map(|a| self.scalar(a))
            .collect::<Result<Vec<_>, _>>()?;
        let dtype = args[0].dtype;
        let body = math::body(f, dtype).ok_or_else(|| CodegenError::Internal {
            kernel: self.kernel.name.clone(),
            reason: format!("{} has no body for {dtype}", f.name()),
        })?;
        self.inline(body, args)
    }

    /// Emits a math body with the given parameters.
    pub(super) fn inline(&mut self, body: &MathBody, args: Vec<Val>) -> Result<Val, CodegenError> {
        let mut env = args;
        let always = body.rare.as_ref().map_or(body.lets.len(), |r| r.start);
        self.math_lets(&body.lets[..always], &mut env)?;
        if let Some(rare) = &body.rare {
            return self.seldom(&body.lets[rare.clone()], &body.lets[rare.end].1, env);
        }
        env.pop().ok_or_else(|| CodegenError::Internal {
            kernel: self.kernel.name.clone(),
            reason: "an empty math body".into(),
        })
    }

    fn math_lets(
        &mut self,
        lets: &[(DType, Scalar)],
        env: &mut Vec<Val>,
    ) -> Result<(), CodegenError> {
        for (_, value) in lets {
            let v = self.math_scalar(value, env)?;
            env.push(v);
        }
        Ok(())
    }

    /// The result of a math body: a choice, whose first operand, and `lets` for it, are evaluated
    /// only if some lane takes it.
    fn seldom(
        &mut self,
        lets: &[(DType, Scalar)],
        result: &Scalar,
        mut env: Vec<Val>,
    ) -> Result<Val, CodegenError> {
        let Scalar::Select(cond, rare, common) = result else {
            panic!("invariant: what is seldom needed is an operand of a choice");
        };
        let taken = self.math_scalar(cond, &env)?;
        let common = self.math_scalar(common, &env)?;
        let mask = taken.mask | common.mask;
        let (some, join) = (self.b.create_block(), self.b.create_block());
        let values = self.broadcast(&common, mask);
        let ty = self.b.func.dfg.value_type(values[0]);
        let params = (values.iter().map(|_| self.b.append_block_param(join, ty))).collect();
        let any = self.any_lane(&taken);
        let args: Vec<BlockArg> = values.into_iter().map(BlockArg::Value).collect();
        self.b.ins().brif(any, some, &[], join, &args);
        self.b.seal_block(some);
        self.b.switch_to_block(some);
        let values = self.conditional(|cx| {
            cx.math_lets(lets, &mut env)?;
            let rare = cx.math_scalar(rare, &env)?;
            let either = cx.map_select(common.dtype, &taken, &rare, &common);
            Ok::<_, CodegenError>(cx.broadcast(&either, mask))
        })?;
        let args: Vec<BlockArg> = values.into_iter().map(BlockArg::Value).collect();
        self.b.ins().jump(join, &args);
        self.b.seal_block(join);
        self.b.switch_to_block(join);
        Ok(Val {
            dtype: common.dtype,
            mask,
            elems: params,
        })
    }

    /// Whether a truth value holds in any lane: a flag.
    fn any_lane(&mut self, v: &Val) -> Value {
        let all = v.elems.iter().copied();
        let any = all.reduce(|a, b| self.b.ins().bor(a, b));
        let any = any.expect("invariant: a value has elements");
        match self.b.func.dfg.value_type(any).is_vector() {
            true => self.b.ins().vany_true(any),
            false => any,
        }
    }

    fn math_scalar(&mut self, s: &Scalar, env: &[Val]) -> Result<Val, CodegenError> {
        let children = s
            .children()
            .into_iter()
            .map(|c| self.math_scalar(c, env))
            .collect::<Result<Vec<_>, _>>()?;
        let args: Vec<&Val> = children.iter().collect();
        Ok(match s {
            Scalar::Load(b, _) => env[b.0 as usize].clone(),
            Scalar::Unary(op, _) => {
                let d = args[0].dtype;
                self.map(d, &args, &mut |cx, v| cx.unary(*op, d, v[0]))
            }
            Scalar::Binary(BinaryOp::Scale, ..) => {
                let body = math::scaling(args[0].dtype);
                self.inline(body, children)?
            }
            Scalar::Binary(op, _, b) => self.math_binary(*op, b, &args),
            Scalar::Fma(..) => self.map(args[0].dtype, &args, &mut |cx, v| {
                fused::fma(&mut cx.b, cx.native_fma, [v[0], v[1], v[2]])
            }),
            Scalar::Select(..) => self.map_select(args[1].dtype, args[0], args[1], args[2]),
            Scalar::Cast(to, _) => self.cast_val(*to, children[0].clone())?,
            Scalar::Bitcast(to, _) => self.map(*to, &args, &mut |cx, v| cx.bitcast(*to, v[0])),
            other => self.scalar(other)?,
        })
    }

    fn math_binary(&mut self, op: BinaryOp, right: &Scalar, args: &[&Val]) -> Val {
        let d = args[0].dtype;
        let result = if op.is_compare() { DType::Bool } else { d };
        let number = matches!(right, Scalar::Const(c) if !c.as_f64().is_nan());
        match op {
            BinaryOp::Min | BinaryOp::Max if d.is_float() && number => {
                self.map(result, args, &mut |cx, v| {
                    cx.min_max_number(op, d, v[0], v[1])
                })
            }
            BinaryOp::Shl | BinaryOp::Shr if self.has_vector(args[0].mask) => {
                let count = args[1].elems[0];
                self.map(result, &args[..1], &mut |cx, v| {
                    cx.binary(op, d, v[0], count)
                })
            }
            _ => self.map(result, args, &mut |cx, v| cx.binary(op, d, v[0], v[1])),
        }
    }
}

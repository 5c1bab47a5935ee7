//! What is known of a class of equal values: types, a small constant, whether inputs matter.
use super::term::{Call, Known, Term};
use egg::{Analysis, DidMerge, EGraph, Id};
use std::sync::Arc;
use tensmith_ir::eval::{EvalCx, Sizes};
use tensmith_ir::expr::Ranges;
use tensmith_ir::graph::TensorType;
use tensmith_ir::ops::{Class, InferCx};
use tensmith_ir::tensor::Tensor;

/// An e-graph over the op table.
pub type Terms = EGraph<Term, Leaves>;

/// Constants of at most so many elements are computed; larger ones stay leaves.
pub const SMALL: usize = 64;

/// A value from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// Its type.
    pub ty: TensorType,
    /// Whether it is a constant.
    pub fixed: bool,
    /// What is known of the signs of its elements.
    pub sign: Sign,
}

impl Leaf {
    /// A value of which only the type is known.
    pub fn input(ty: TensorType) -> Self {
        Leaf {
            ty,
            fixed: false,
            sign: Sign::Any,
        }
    }

    /// A constant whose elements no rule sees.
    pub fn constant(t: &Tensor) -> Self {
        let few = t.count() <= SMALL;
        Leaf {
            ty: type_of(t),
            fixed: true,
            sign: if few { sign_of_constant(t) } else { Sign::Any },
        }
    }
}

/// What is outside of the terms.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    /// The values from outside, by their numbers.
    pub leaves: Vec<Leaf>,
    /// What is known of the size symbols.
    pub ranges: Ranges,
}

/// Facts that hold for all members of a class.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The type; of an op with several results, all types.
    pub types: Arc<[TensorType]>,
    /// The value, if it is a constant of few elements.
    pub constant: Option<Arc<Tensor>>,
    /// Whether no input matters.
    pub fixed: bool,
    /// What is known of the signs of all elements that are numbers.
    pub sign: Sign,
}

/// What is known of the sign of a value; NaN may be among the elements of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// Nothing.
    Any,
    /// No element is below 0, but -0 may be one.
    NotBelow,
    /// All elements are above 0.
    Positive,
}

impl Facts {
    /// The type of a class of single values.
    pub fn ty(&self) -> &TensorType {
        &self.types[0]
    }

    /// The number that all elements are, if they are one.
    pub fn uniform(&self) -> Option<f64> {
        let values = self.constant.as_ref()?.to_f64();
        let first = *values.first()?;
        let same = |x: &f64| x.to_bits() == first.to_bits();
        values.iter().all(same).then_some(first)
    }
}

/// The types of the results of an application.
///
/// Errors: operands that do not fit.
pub fn infer(terms: &Terms, call: &Call) -> Result<Vec<TensorType>, String> {
    let facts: Vec<&Facts> = call.args.iter().map(|id| &terms[*id].data).collect();
    let inputs: Vec<&TensorType> = facts.iter().map(|f| f.ty()).collect();
    let constants: Vec<Option<&Tensor>> = facts.iter().map(|f| f.constant.as_deref()).collect();
    call.op.infer_types(&InferCx {
        inputs: &inputs,
        constants: &constants,
        attrs: &call.attrs,
        regions: &[],
        ranges: &terms.analysis.ranges,
    })
}

fn sign_of_constant(t: &Tensor) -> Sign {
    let values = t.to_f64();
    match () {
        () if values.iter().all(|x| *x > 0.0) => Sign::Positive,
        () if values.iter().all(|x| *x >= 0.0) => Sign::NotBelow,
        () => Sign::Any,
    }
}

/// What an application says of its sign.
fn sign(terms: &Terms, call: &Call) -> Sign {
    let of = |k: usize| terms[call.args[k]].data.sign;
    match call.op.name {
        "exp" | "abs" | "sqrt" | "sigmoid" => Sign::NotBelow,
        "mul" if terms.find(call.args[0]) == terms.find(call.args[1]) => Sign::NotBelow,
        "mul" | "div" => of(0).min(of(1)).min(Sign::NotBelow),
        // The root of -0 is no number above 0, but a sum with one that is above is.
        "add" if of(0).min(of(1)) >= Sign::NotBelow => of(0).max(of(1)),
        "max" => of(0).max(of(1)),
        "reduce_sum" | "reduce_mean" => of(0).min(Sign::NotBelow),
        "reshape" | "transpose" | "expand" => of(0),
        _ => Sign::Any,
    }
}

/// The result of an application to constants, if it has few elements.
fn evaluate(terms: &Terms, call: &Call, types: &[TensorType]) -> Option<Arc<Tensor>> {
    let [ty] = types else { return None };
    let few = ty.count().as_const().is_some_and(|n| n <= SMALL as i64);
    // Repeated elements are cheaper where they are used than in memory.
    if !few
        || ty.static_shape().is_none()
        || call.op.class == Class::Contraction
        || call.op.name == "expand"
    {
        return None;
    }
    let known = call.args.iter().map(|id| terms[*id].data.constant.clone());
    let known: Vec<Arc<Tensor>> = known.collect::<Option<_>>()?;
    let inputs: Vec<&Tensor> = known.iter().map(|t| &**t).collect();
    let results = (call.op.eval)(&EvalCx {
        inputs: &inputs,
        attrs: &call.attrs,
        outputs: types,
        regions: &[],
        sizes: &Sizes::new(),
        node: call.op.name,
    });
    // What cannot be evaluated fails at run time, where the error names its place.
    results.ok()?.into_iter().next().map(Arc::new)
}

impl Analysis<Term> for Leaves {
    type Data = Facts;

    fn make(terms: &mut Terms, term: &Term, _: Id) -> Facts {
        match term {
            Term::Leaf(k) => {
                let leaf = &terms.analysis.leaves[*k as usize];
                Facts {
                    types: [leaf.ty.clone()].into(),
                    constant: None,
                    fixed: leaf.fixed,
                    sign: leaf.sign,
                }
            }
            Term::Constant(Known(t)) => Facts {
                types: [type_of(t)].into(),
                constant: Some(t.clone()),
                fixed: true,
                sign: sign_of_constant(t),
            },
            Term::Part(k, [of]) => {
                let of = &terms[*of].data;
                Facts {
                    types: [of.types[*k as usize].clone()].into(),
                    constant: None,
                    fixed: of.fixed,
                    sign: Sign::Any,
                }
            }
            Term::Call(call) => {
                let types = infer(terms, call).expect("invariant: calls are checked when added");
                Facts {
                    constant: evaluate(terms, call, &types),
                    fixed: call.args.iter().all(|id| terms[*id].data.fixed),
                    sign: sign(terms, call),
                    types: types.into(),
                }
            }
        }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        let constant = a.constant.is_none() && b.constant.is_some();
        let fixed = b.fixed && !a.fixed || b.sign > a.sign;
        let more =
            a.constant.is_some() && b.constant.is_none() || a.fixed && !b.fixed || a.sign > b.sign;
        a.sign = a.sign.max(b.sign);
        a.constant = a.constant.take().or(b.constant);
        a.fixed |= b.fixed;
        DidMerge(constant || fixed, more)
    }

    fn modify(terms: &mut Terms, id: Id) {
        if let Some(t) = terms[id].data.constant.clone() {
            let constant = terms.add(Term::Constant(Known(t)));
            terms.union(id, constant);
        }
    }
}

/// The type of a constant.
pub fn type_of(t: &Tensor) -> TensorType {
    let shape = t.shape.iter().map(|d| (*d as i64).into()).collect();
    TensorType::new(t.dtype, shape)
}

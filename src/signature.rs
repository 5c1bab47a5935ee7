//! The interface of a compiled model: what goes in, what comes out, and how sizes follow.
use crate::convert::{describe, describe_type, element_type};
use crate::error::{Error, Result};
use tensmith_ir::expr::{Atom, Expr};
use tensmith_ir::graph::TensorType;
use tensmith_ir::plan::{Plan, Port, SizeParam};
use tensmith_runtime::{ElementType, Tensor, TensorView};

/// An input of a compiled model.
#[derive(Debug)]
pub struct Input {
    /// The name in the model.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
    /// The only value that the compiled model takes, if it was compiled for one.
    pub fixed: Option<Tensor>,
}

/// An output of a compiled model.
#[derive(Debug)]
pub struct Output {
    /// The name in the model.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
}

/// Inputs, outputs and size symbols.
#[derive(Debug)]
pub struct Signature {
    /// The inputs, in the model's order.
    pub inputs: Vec<Input>,
    /// The outputs, in the model's order.
    pub outputs: Vec<Output>,
    /// The size symbols.
    pub sizes: Vec<SizeParam>,
    /// For each input that the code reads, its place in `inputs`.
    pub(crate) passed: Vec<usize>,
}

/// The value of a size expression.
pub(crate) fn eval(e: &Expr, sizes: &[SizeParam], values: &[i64]) -> Option<i64> {
    e.eval(&|atom| match atom {
        Atom::Size(s) => sizes.iter().position(|p| p.symbol == *s).map(|k| values[k]),
        _ => None,
    })
}

impl Signature {
    /// The interface of a plan, with the inputs whose values are fixed; `order` is the order of
    /// the model's inputs by name.
    pub(crate) fn new(plan: &Plan, fixed: Vec<(String, Tensor)>, order: &[String]) -> Self {
        let open = plan.inputs.iter().map(|Port { name, ty }| Input {
            name: name.clone(),
            ty: ty.clone(),
            fixed: None,
        });
        let mut inputs: Vec<Input> = open.collect();
        for (name, value) in fixed {
            let shape = value.shape().iter().map(|d| (*d).into()).collect();
            let ty = TensorType::new(crate::convert::dtype(value.dtype()), shape);
            let fixed = Some(value);
            match inputs.iter_mut().find(|i| i.name == name) {
                Some(input) => input.fixed = fixed,
                None => inputs.push(Input { name, ty, fixed }),
            }
        }
        inputs.sort_by_key(|i| {
            order
                .iter()
                .position(|n| *n == i.name)
                .unwrap_or(usize::MAX)
        });
        let place = |name: &str| inputs.iter().position(|i| i.name == name);
        let passed = plan.inputs.iter().map(|p| place(&p.name));
        let passed = passed.collect::<Option<_>>();
        let outputs = plan.outputs.iter().map(|Port { name, ty }| Output {
            name: name.clone(),
            ty: ty.clone(),
        });
        Signature {
            passed: passed.expect("invariant: every input of the plan is an input"),
            outputs: outputs.collect(),
            sizes: plan.sizes.clone(),
            inputs,
        }
    }

    /// Checks inputs in the model's order and finds the sizes. Allocates only for errors.
    ///
    /// Errors: a number, type, shape or value that does not fit, naming the input.
    pub(crate) fn bind(&self, views: &[TensorView<'_>], values: &mut [i64]) -> Result<()> {
        if views.len() != self.inputs.len() {
            return Err(self.wrong_count(views.len()));
        }
        for (input, view) in self.inputs.iter().zip(views) {
            check_type(input, view)?;
        }
        for (size, value) in self.sizes.iter().zip(values.iter_mut()) {
            let (port, dim) = size.source;
            *value = views[self.passed[port]].shape()[dim] as i64;
            if !(size.min..=size.max).contains(value) {
                let input = &self.inputs[self.passed[port]];
                return Err(Error::Input {
                    input: input.name.clone(),
                    found: format!("{value} for `{}` (dimension {dim})", size.symbol.name()),
                    expected: format!("a value from {} to {}", size.min, size.max),
                });
            }
        }
        for (input, view) in self.inputs.iter().zip(views) {
            self.check_shape(input, view, values)?;
            check_value(input, view)?;
        }
        Ok(())
    }

    fn wrong_count(&self, found: usize) -> Error {
        let names: Vec<&str> = self.inputs.iter().map(|i| &i.name[..]).collect();
        Error::Input {
            input: "*".into(),
            found: format!("{found} tensors"),
            expected: format!("{}: {}", names.len(), names.join(", ")),
        }
    }

    fn check_shape(&self, input: &Input, view: &TensorView<'_>, values: &[i64]) -> Result<()> {
        let mut pairs = input.ty.shape.iter().zip(view.shape());
        if pairs.all(|(want, found)| eval(want, &self.sizes, values) == Some(*found as i64)) {
            return Ok(());
        }
        let bound = self.sizes.iter().zip(values);
        let bound: Vec<String> = bound
            .map(|(s, v)| format!("{} = {v}", s.symbol.name()))
            .collect();
        let with = if bound.is_empty() {
            String::new()
        } else {
            format!(" with {}", bound.join(", "))
        };
        Err(Error::Input {
            input: input.name.clone(),
            found: describe(view.dtype(), view.shape()),
            expected: format!("{}{with}", describe_type(&input.ty)),
        })
    }

    /// The shape of output `k` into `shape`. Allocates only for a rank not seen before.
    ///
    /// Errors: a size that is too large.
    pub(crate) fn output_shape(
        &self,
        k: usize,
        values: &[i64],
        shape: &mut Vec<usize>,
    ) -> Result<()> {
        shape.clear();
        for dim in &self.outputs[k].ty.shape {
            let extent = eval(dim, &self.sizes, values);
            shape.push(crate::convert::bytes_of(extent, "an output")?);
        }
        Ok(())
    }

    /// Units: bytes of all inputs and of all outputs. Allocates only for errors.
    ///
    /// Errors: a size that is too large.
    pub(crate) fn port_bytes(&self, values: &[i64]) -> Result<(u64, u64)> {
        let bytes = |ty: &TensorType, what| {
            let mut total = Some(ty.dtype.bytes() as i64);
            for dim in &ty.shape {
                let extent = eval(dim, &self.sizes, values);
                total = total.zip(extent).and_then(|(t, e)| t.checked_mul(e));
            }
            Ok::<u64, Error>(crate::convert::bytes_of(total, what)? as u64)
        };
        let (mut given, mut made) = (0u64, 0u64);
        for input in &self.inputs {
            given = given.saturating_add(bytes(&input.ty, "an input")?);
        }
        for output in &self.outputs {
            made = made.saturating_add(bytes(&output.ty, "an output")?);
        }
        Ok((given, made))
    }

    /// The element type of output `k`.
    pub(crate) fn output_type(&self, k: usize) -> ElementType {
        element_type(self.outputs[k].ty.dtype)
    }

    /// The inputs in the model's order from inputs by name.
    ///
    /// Errors: a name that is unknown, missing or given twice.
    pub(crate) fn order<'a>(
        &self,
        named: &[(&str, TensorView<'a>)],
    ) -> Result<Vec<TensorView<'a>>> {
        let names = || {
            let names: Vec<&str> = self.inputs.iter().map(|i| &i.name[..]).collect();
            format!("one of: {}", names.join(", "))
        };
        let error = |name: &str, found: &str, expected: String| Error::Input {
            input: name.into(),
            found: found.into(),
            expected,
        };
        for (k, (name, _)) in named.iter().enumerate() {
            if self.inputs.iter().all(|i| i.name != *name) {
                return Err(error(name, "a name that the model does not have", names()));
            }
            if named[..k].iter().any(|(other, _)| other == name) {
                return Err(error(name, "two tensors", "one".into()));
            }
        }
        let find = |input: &Input| {
            let found = named.iter().find(|(name, _)| *name == input.name);
            found
                .map(|(_, view)| *view)
                .ok_or_else(|| error(&input.name, "no tensor", describe_type(&input.ty)))
        };
        self.inputs.iter().map(find).collect()
    }
}

fn check_type(input: &Input, view: &TensorView<'_>) -> Result<()> {
    if view.dtype() == element_type(input.ty.dtype) && view.shape().len() == input.ty.rank() {
        return Ok(());
    }
    Err(Error::Input {
        input: input.name.clone(),
        found: describe(view.dtype(), view.shape()),
        expected: describe_type(&input.ty),
    })
}

fn check_value(input: &Input, view: &TensorView<'_>) -> Result<()> {
    match &input.fixed {
        Some(value) if value.bytes() != view.bytes() => Err(Error::Input {
            input: input.name.clone(),
            found: "another value than the model was compiled for".into(),
            expected: format!("{}; compile again for the new value", show(value)),
        }),
        _ => Ok(()),
    }
}

/// A small tensor as text.
pub fn show(tensor: &Tensor) -> String {
    let values = crate::convert::to_ir(tensor.view()).to_f64();
    let text: Vec<String> = values.iter().take(16).map(f64::to_string).collect();
    let more = if values.len() > 16 { ", ..." } else { "" };
    format!(
        "{} = [{}{more}]",
        describe(tensor.dtype(), tensor.shape()),
        text.join(", ")
    )
}

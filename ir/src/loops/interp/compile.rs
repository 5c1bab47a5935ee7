//! Resolves a kernel for given sizes into a tree that runs fast: variables and scalar registers
//! are slots, affine indices are lists of coefficients, calls are inlined.
use super::super::verify::types::{buffer_of, check_rank, scalar_type};
use super::super::{BinaryOp, Buffer, BufferId, Cond, Kernel, Scalar, Scope, Stmt, UnaryOp, math};
use crate::dtype::DType;
use crate::expr::{Atom, Expr};

/// An index expression over variable slots.
pub(super) enum Index {
    Const(i64),
    Affine(i64, Vec<(usize, i64)>),
    /// A sum of products.
    Poly(i64, Vec<(i64, Vec<Factor>)>),
}

pub(super) enum Factor {
    Var(usize),
    Div(Box<(Index, Index)>),
    Mod(Box<(Index, Index)>),
    Min(Box<(Index, Index)>),
    Max(Box<(Index, Index)>),
}

/// Where elements of a buffer are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The k-th argument.
    Arg(usize),
    /// The interpreter's own, by buffer number.
    Local(usize),
}

/// A buffer with known extents.
pub(super) struct Memory {
    pub(super) place: Place,
    pub(super) dtype: DType,
    /// The extents that indices may have, padding of blocked layouts included.
    pub(super) extents: Vec<i64>,
    /// Physical dimensions: logical dimension, step, extent, and whether it is the outermost part.
    pub(super) layout: Vec<(usize, i64, i64, bool)>,
    /// The number of elements, padding included.
    pub(super) count: usize,
}

pub(super) enum Code {
    Const(u64),
    Index(Index),
    /// A rank-0 register.
    Register(usize),
    Load(usize, Vec<Index>),
    Unary(UnaryOp, DType, Box<Code>),
    Binary(BinaryOp, DType, Box<(Code, Code)>),
    Fma(DType, Box<(Code, Code, Code)>),
    /// Registers to set one after the other, and the one that holds the result.
    Call(Vec<(usize, Code)>, usize),
    Select(Box<(Code, Code, Code)>),
    Cast(DType, DType, Box<Code>),
    Guard(Vec<Index>, Box<(Code, Code)>),
}

pub(super) enum Step {
    For(usize, Index, Vec<Step>),
    Set(usize, Code),
    Store(usize, Vec<Index>, Code),
    If(Test, Vec<Step>, Vec<Step>),
    Check {
        var: usize,
        value: Code,
        extent: Index,
        site: u32,
        body: Vec<Step>,
    },
    While(Code, Vec<Step>),
}

pub(super) enum Test {
    Affine(Vec<Index>),
    Scalar(Code),
}

/// What the buffer numbers of a scalar mean.
enum Names<'a> {
    /// Buffers of the kernel.
    Kernel,
    /// Registers of a math function: the first one, and their types.
    Math(usize, &'a [DType]),
}

/// What the parts of a kernel are compiled with.
pub(super) struct Compiler<'k> {
    kernel: &'k Kernel,
    sizes: &'k [i64],
    /// The registers of the kernel come first, by buffer number; math functions add theirs.
    pub(super) registers: usize,
}

impl<'k> Compiler<'k> {
    pub(super) fn new(kernel: &'k Kernel, sizes: &'k [i64]) -> Self {
        let registers = kernel.buffers.len();
        Compiler {
            kernel,
            sizes,
            registers,
        }
    }

    /// The memory of every buffer.
    pub(super) fn memories(&self) -> Result<Vec<Memory>, String> {
        let mut args = 0;
        let mut place = |(k, b): (usize, &Buffer)| match b.scope {
            Scope::Input | Scope::Output => {
                args += 1;
                Place::Arg(args - 1)
            }
            Scope::Scratch | Scope::Register => Place::Local(k),
        };
        let buffers = self.kernel.buffers.iter().enumerate();
        buffers
            .map(|(k, b)| self.memory(b, place((k, b))))
            .collect()
    }

    fn memory(&self, b: &Buffer, place: Place) -> Result<Memory, String> {
        let fail = |what: &str| format!("buffer `{}`: {what}", b.name);
        let mut extents = Vec::new();
        for dim in &b.shape {
            let extent = self.closed(dim)?;
            if extent < 0 {
                return Err(fail(&format!("the extent {dim} is {extent}")));
            }
            extents.push(extent);
        }
        let mut layout = Vec::new();
        let mut padded = extents.clone();
        for d in &b.layout.0 {
            let logical = *extents
                .get(d.dim)
                .ok_or_else(|| fail("layout beyond rank"))?;
            if d.step < 1 || d.extent.is_some_and(|e| e < 1) {
                return Err(fail("a block of the layout is empty"));
            }
            let outer = (logical + d.step - 1) / d.step;
            layout.push((d.dim, d.step, d.extent.unwrap_or(outer), d.extent.is_none()));
            if d.extent.is_none() {
                padded[d.dim] = outer * d.step;
            }
        }
        let count = layout
            .iter()
            .try_fold(1i64, |n, d| n.checked_mul(d.2))
            .ok_or_else(|| fail("more elements than a number can count"))?;
        Ok(Memory {
            place,
            dtype: b.dtype,
            extents: padded,
            layout,
            count: count as usize,
        })
    }

    /// The value of an expression over sizes.
    fn closed(&self, e: &Expr) -> Result<i64, String> {
        let value = e.eval(&|a| match a {
            Atom::Size(s) => self.size(s),
            _ => None,
        });
        value.ok_or_else(|| format!("{e} is not a number for the given sizes"))
    }

    fn size(&self, symbol: &crate::expr::Symbol) -> Option<i64> {
        let at = self.kernel.sizes.iter().position(|s| s == symbol)?;
        self.sizes.get(at).copied()
    }

    fn var(&self, var: crate::expr::Var) -> Result<usize, String> {
        if var.0 < self.kernel.vars {
            return Ok(var.0 as usize);
        }
        Err(format!("{var} is not below {}", self.kernel.vars))
    }

    pub(super) fn index(&self, e: &Expr) -> Result<Index, String> {
        let bound = e.bind_sizes(&|s| self.size(s));
        self.bound_index(&bound)
    }

    fn bound_index(&self, e: &Expr) -> Result<Index, String> {
        if let Some(n) = e.as_const() {
            return Ok(Index::Const(n));
        }
        let affine: Option<Vec<(usize, i64)>> = e
            .terms()
            .iter()
            .map(|(atoms, coef)| match &atoms[..] {
                [Atom::Var(v)] => Some((self.var(*v).ok()?, *coef)),
                _ => None,
            })
            .collect();
        if let Some(terms) = affine {
            return Ok(Index::Affine(e.constant(), terms));
        }
        let mut terms = Vec::new();
        for (atoms, coef) in e.terms() {
            let factors: Result<Vec<Factor>, String> =
                atoms.iter().map(|a| self.factor(a)).collect();
            terms.push((*coef, factors?));
        }
        Ok(Index::Poly(e.constant(), terms))
    }

    fn factor(&self, atom: &Atom) -> Result<Factor, String> {
        let both = |p: &(Expr, Expr)| -> Result<Box<(Index, Index)>, String> {
            Ok(Box::new((self.bound_index(&p.0)?, self.bound_index(&p.1)?)))
        };
        Ok(match atom {
            Atom::Size(s) => return Err(format!("{s} is not a size of the kernel")),
            Atom::Var(v) => Factor::Var(self.var(*v)?),
            Atom::Div(p) => Factor::Div(both(p)?),
            Atom::Mod(p) => Factor::Mod(both(p)?),
            Atom::Min(p) => Factor::Min(both(p)?),
            Atom::Max(p) => Factor::Max(both(p)?),
        })
    }

    fn indices(&self, es: &[Expr]) -> Result<Vec<Index>, String> {
        es.iter().map(|e| self.index(e)).collect()
    }

    pub(super) fn steps(&mut self, stmts: &[Stmt]) -> Result<Vec<Step>, String> {
        stmts.iter().map(|s| self.step(s)).collect()
    }

    fn step(&mut self, stmt: &Stmt) -> Result<Step, String> {
        Ok(match stmt {
            Stmt::For(l) => {
                let (var, extent) = (self.var(l.var)?, self.index(&l.extent)?);
                Step::For(var, extent, self.steps(&l.body)?)
            }
            Stmt::Store {
                buffer,
                index,
                value,
            } => self.store(*buffer, index, value)?,
            Stmt::If {
                cond,
                then,
                otherwise,
            } => {
                let test = match cond {
                    Cond::Affine(es) => Test::Affine(self.indices(es)?),
                    Cond::Scalar(s) => Test::Scalar(self.typed(s, DType::Bool)?),
                };
                Step::If(test, self.steps(then)?, self.steps(otherwise)?)
            }
            Stmt::Check {
                var,
                value,
                extent,
                site,
                body,
            } => Step::Check {
                var: self.var(*var)?,
                value: self.typed(value, DType::I64)?,
                extent: self.index(extent)?,
                site: *site,
                body: self.steps(body)?,
            },
            Stmt::While { cond, body } => {
                Step::While(self.typed(cond, DType::Bool)?, self.steps(body)?)
            }
        })
    }

    fn store(&mut self, id: BufferId, index: &[Expr], value: &Scalar) -> Result<Step, String> {
        let buffer = buffer_of(id, &self.kernel.buffers)?;
        check_rank(buffer, index.len())?;
        if buffer.scope == Scope::Input {
            return Err(format!("a store to the input `{}`", buffer.name));
        }
        let code = self.typed(value, buffer.dtype)?;
        if is_scalar_register(buffer) {
            return Ok(Step::Set(id.0 as usize, code));
        }
        Ok(Step::Store(id.0 as usize, self.indices(index)?, code))
    }

    /// The code of a scalar that must have a type; all types within are checked here.
    fn typed(&mut self, s: &Scalar, want: DType) -> Result<Code, String> {
        let found = scalar_type(s, &self.kernel.buffers)?;
        if found != want {
            return Err(format!("a value of {found}, want {want}"));
        }
        self.code(s, &Names::Kernel)
    }

    fn dtype(&self, s: &Scalar, names: &Names<'_>) -> DType {
        s.dtype(&|b| match names {
            Names::Kernel => self.kernel.buffer(b).dtype,
            Names::Math(_, types) => types[b.0 as usize],
        })
    }

    fn load(&self, b: BufferId, index: &[Expr], names: &Names<'_>) -> Result<Code, String> {
        let at = b.0 as usize;
        match names {
            Names::Math(base, _) => Ok(Code::Register(base + at)),
            Names::Kernel if is_scalar_register(self.kernel.buffer(b)) => Ok(Code::Register(at)),
            Names::Kernel => Ok(Code::Load(at, self.indices(index)?)),
        }
    }

    fn code(&mut self, s: &Scalar, names: &Names<'_>) -> Result<Code, String> {
        let mut go = |s: &Scalar| self.code(s, names);
        Ok(match s {
            Scalar::Const(c) => Code::Const(c.bits),
            Scalar::Index(e) => Code::Index(self.index(e)?),
            Scalar::Load(b, index) => self.load(*b, index, names)?,
            Scalar::Unary(op, a) => {
                let code = Box::new(go(a)?);
                Code::Unary(*op, self.dtype(a, names), code)
            }
            Scalar::Binary(BinaryOp::Scale, a, b) => {
                let args = vec![go(a)?, go(b)?];
                self.inline(math::scaling(self.dtype(a, names)), args)?
            }
            Scalar::Binary(op, a, b) => {
                let codes = Box::new((go(a)?, go(b)?));
                Code::Binary(*op, self.dtype(a, names), codes)
            }
            Scalar::Fma(a, b, c) => {
                let codes = Box::new((go(a)?, go(b)?, go(c)?));
                Code::Fma(self.dtype(a, names), codes)
            }
            Scalar::Select(c, a, b) => Code::Select(Box::new((go(c)?, go(a)?, go(b)?))),
            Scalar::Cast(to, a) => {
                let code = Box::new(go(a)?);
                Code::Cast(self.dtype(a, names), *to, code)
            }
            Scalar::Bitcast(_, a) => go(a)?,
            Scalar::Guard(conds, a, b) => {
                let both = Box::new((go(a)?, go(b)?));
                Code::Guard(self.indices(conds)?, both)
            }
            Scalar::Call(f, args) => {
                let args: Vec<Code> = args.iter().map(go).collect::<Result<_, _>>()?;
                self.call(*f, self.dtype(s, names), args)?
            }
        })
    }

    /// A call with registers of its own.
    fn call(&mut self, f: math::MathFn, dtype: DType, args: Vec<Code>) -> Result<Code, String> {
        let body = math::body(f, dtype).ok_or_else(|| format!("{f:?} has no code for {dtype}"))?;
        self.inline(body, args)
    }

    fn inline(&mut self, body: &math::MathBody, args: Vec<Code>) -> Result<Code, String> {
        let base = self.registers;
        self.registers += body.params.len() + body.lets.len();
        let types: Vec<DType> = body
            .params
            .iter()
            .copied()
            .chain(body.lets.iter().map(|l| l.0))
            .collect();
        let mut sets: Vec<(usize, Code)> = (base..).zip(args).collect();
        for (k, (_, value)) in body.lets.iter().enumerate() {
            let code = self.code(value, &Names::Math(base, &types))?;
            sets.push((base + body.params.len() + k, code));
        }
        Ok(Code::Call(sets, base + types.len() - 1))
    }
}

/// Whether a buffer is a scalar variable.
fn is_scalar_register(b: &Buffer) -> bool {
    b.scope == Scope::Register && b.shape.is_empty()
}

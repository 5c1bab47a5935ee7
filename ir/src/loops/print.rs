//! The text form of kernels.
//!
//! ```text
//! kernel sum($batch in 1..=64) {
//!   in a0: f32[$batch, 3]
//!   out o1: f32[$batch] layout(d0/4, d0 mod 4)
//!   reg r2: f32[]
//!   for i0 < $batch space parallel {
//!     r2 = 0.0f32
//!     for i1 < 3 reduce {
//!       r2 = r2 + a0[i0, i1]
//!     }
//!     o1[i0] = r2
//!   }
//! }
//! ```
//! Scalars: `1.5f32`, `-inf_f32`, `true`, `index(i0 + 1)`, `a0[i0]`, `+ - * / == != < <=`, calls by
//! the names of ops and math functions, `f32(x)` (a cast), `bitcast f32(x)`,
//! `guard([i0 - 1], x, y)`.
use super::scalar::{BinaryOp, Const, Scalar, UnaryOp};
use super::{Buffer, BufferId, Cond, For, Kernel, Layout, Mark, Reduction, Role, Scope, Stmt};
use crate::dtype::DType;
use crate::expr::{Atom, Expr};
use crate::ops::show_shape;
use crate::text::show_string;
use std::fmt::{self, Write};

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("layout(")?;
        for (k, d) in self.0.iter().enumerate() {
            f.write_str(if k == 0 { "" } else { ", " })?;
            write!(f, "d{}", d.dim)?;
            if d.step != 1 {
                write!(f, "/{}", d.step)?;
            }
            if let Some(extent) = d.extent {
                write!(f, " mod {extent}")?;
            }
        }
        f.write_str(")")
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}(", show_name(&self.name))?;
        for (k, (symbol, (lo, hi))) in self.sizes.iter().zip(&self.size_bounds).enumerate() {
            f.write_str(if k == 0 { "" } else { ", " })?;
            write!(f, "{symbol} in {lo}..={hi}")?;
        }
        f.write_str(")")?;
        if self.vars != vars_in_use(&self.body) {
            write!(f, " vars {}", self.vars)?;
        }
        f.write_str(" {\n")?;
        for buffer in &self.buffers {
            show_buffer(buffer, f)?;
        }
        let mut out = String::new();
        let show = Show {
            buffers: &self.buffers,
        };
        show.stmts(&self.body, 1, &mut out)?;
        write!(f, "{out}}}")
    }
}

fn show_name(name: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        return name.into();
    }
    show_string(name)
}

fn show_buffer(b: &Buffer, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let scope = scope_word(b.scope);
    write!(
        f,
        "  {scope} {}: {}{}",
        b.name,
        b.dtype,
        show_shape(&b.shape)
    )?;
    if b.layout != Layout::row_major(b.shape.len()) {
        write!(f, " {}", b.layout)?;
    }
    if b.prefetch != 0 {
        write!(f, " prefetch({})", b.prefetch)?;
    }
    if !b.nonzero.is_empty() {
        let ranges = b.nonzero.iter().map(|(from, to)| format!("[{from}, {to}]"));
        let ranges: Vec<String> = ranges.collect();
        write!(f, " nonzero({})", ranges.join(", "))?;
    }
    f.write_str("\n")
}

pub(super) fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Input => "in",
        Scope::Output => "out",
        Scope::Scratch => "scratch",
        Scope::Register => "reg",
    }
}

pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Space => "space",
        Role::Reduce => "reduce",
        Role::Serial => "serial",
    }
}

/// The word of a mark; empty for a plain loop.
pub(super) fn mark_word(mark: Mark) -> &'static str {
    match mark {
        Mark::Plain => "",
        Mark::Parallel => "parallel",
        Mark::Vector => "vector",
        Mark::Jam => "jam",
        Mark::Unroll => "unroll",
    }
}

/// The word of a unary op.
pub(super) fn unary_word(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "neg",
        UnaryOp::Abs => "abs",
        UnaryOp::Sqrt => "sqrt",
        UnaryOp::Floor => "floor",
        UnaryOp::Ceil => "ceil",
        UnaryOp::Trunc => "trunc",
        UnaryOp::Round => "round",
        UnaryOp::Not => "not",
    }
}

/// How a binary op is written: its word or mark, and for a mark how tightly it binds.
pub(super) fn binary_word(op: BinaryOp) -> (&'static str, Option<u8>) {
    match op {
        BinaryOp::Add => ("+", Some(2)),
        BinaryOp::Sub => ("-", Some(2)),
        BinaryOp::Mul => ("*", Some(3)),
        BinaryOp::Div => ("/", Some(3)),
        BinaryOp::Eq => ("==", Some(1)),
        BinaryOp::Ne => ("!=", Some(1)),
        BinaryOp::Lt => ("<", Some(1)),
        BinaryOp::Le => ("<=", Some(1)),
        BinaryOp::Rem => ("rem", None),
        BinaryOp::Min => ("min", None),
        BinaryOp::Max => ("max", None),
        BinaryOp::And => ("and", None),
        BinaryOp::Or => ("or", None),
        BinaryOp::Xor => ("xor", None),
        BinaryOp::Shl => ("shl", None),
        BinaryOp::Shr => ("shr", None),
        BinaryOp::Scale => ("scale", None),
    }
}

/// One more than the greatest variable number that occurs.
pub(super) fn vars_in_use(stmts: &[Stmt]) -> u32 {
    let mut most = 0;
    let mut see = |e: &Expr| {
        e.visit(&mut |a| {
            if let Atom::Var(v) = a {
                most = most.max(v.0.saturating_add(1));
            }
        });
    };
    for stmt in stmts {
        stmt.visit_exprs(&mut see);
    }
    most
}

/// Writes statements and scalars with the names of their buffers.
pub(super) struct Show<'a> {
    pub(super) buffers: &'a [Buffer],
}

impl Show<'_> {
    fn stmts(&self, stmts: &[Stmt], depth: usize, out: &mut String) -> fmt::Result {
        stmts.iter().try_for_each(|s| self.stmt(s, depth, out))
    }

    /// The first line of a statement, for messages.
    pub(super) fn head(&self, stmt: &Stmt) -> String {
        match stmt {
            Stmt::For(l) => self.for_head(l),
            Stmt::Store {
                buffer,
                index,
                value,
            } => format!("{} = {}", self.access(*buffer, index), self.scalar(value)),
            Stmt::If { cond, .. } => match cond {
                Cond::Affine(es) => format!("if {}", show_shape(es)),
                Cond::Scalar(s) => format!("if {}", self.scalar(s)),
            },
            Stmt::Check {
                var,
                value,
                extent,
                site,
                ..
            } => format!(
                "check {var} = {} in {extent} site {site}",
                self.scalar(value)
            ),
            Stmt::While { cond, .. } => format!("while {}", self.scalar(cond)),
        }
    }

    fn stmt(&self, stmt: &Stmt, depth: usize, out: &mut String) -> fmt::Result {
        let pad = "  ".repeat(depth);
        let head = self.head(stmt);
        let bodies = stmt.bodies();
        let Some(first) = bodies.first() else {
            return writeln!(out, "{pad}{head}");
        };
        writeln!(out, "{pad}{head} {{")?;
        self.stmts(first, depth + 1, out)?;
        for other in bodies[1..].iter().filter(|b| !b.is_empty()) {
            writeln!(out, "{pad}}} else {{")?;
            self.stmts(other, depth + 1, out)?;
        }
        writeln!(out, "{pad}}}")
    }

    fn for_head(&self, l: &For) -> String {
        let mut head = format!("for {} < {} {}", l.var, l.extent, role_word(l.role));
        if l.mark != Mark::Plain {
            head = format!("{head} {}", mark_word(l.mark));
        }
        match &l.reduction {
            Some(r) => format!("{head} {}", self.reduction(r)),
            None => head,
        }
    }

    fn reduction(&self, r: &Reduction) -> String {
        let names = |ids: &[BufferId]| joined(ids.iter().map(|b| self.name(*b)));
        let identity = joined(r.identity.iter().map(show_const));
        let combine = joined(r.combine.iter().map(|s| self.scalar(s)));
        let (state, other) = (names(&r.state), names(&r.other));
        format!("state [{state}] other [{other}] identity [{identity}] combine [{combine}]")
    }

    fn name(&self, id: BufferId) -> String {
        let found = self.buffers.get(id.0 as usize);
        found.map_or_else(|| format!("unknown_{}", id.0), |b| b.name.clone())
    }

    fn access(&self, id: BufferId, index: &[Expr]) -> String {
        if index.is_empty() {
            return self.name(id);
        }
        format!("{}{}", self.name(id), show_shape(index))
    }

    /// The text form of a scalar.
    pub(super) fn scalar(&self, s: &Scalar) -> String {
        let call = |word: &str, args: &[&Scalar]| {
            let args = joined(args.iter().map(|a| self.scalar(a)));
            format!("{word}({args})")
        };
        match s {
            Scalar::Const(c) => show_const(c),
            Scalar::Index(e) => format!("index({e})"),
            Scalar::Load(b, index) => self.access(*b, index),
            Scalar::Unary(op, a) => call(unary_word(*op), &[a]),
            Scalar::Binary(op, a, b) => match binary_word(*op) {
                (word, None) => call(word, &[a, b]),
                (mark, Some(p)) => {
                    let left = self.operand(a, p + u8::from(op.is_compare()));
                    format!("{left} {mark} {}", self.operand(b, p + 1))
                }
            },
            Scalar::Fma(a, b, c) => call("fma", &[a, b, c]),
            Scalar::Call(f, args) => call(f.name(), &args.iter().collect::<Vec<_>>()),
            Scalar::Select(c, a, b) => call("select", &[c, a, b]),
            Scalar::Cast(to, a) => call(to.name(), &[a]),
            Scalar::Bitcast(to, a) => call(&format!("bitcast {to}"), &[a]),
            Scalar::Guard(conds, a, b) => {
                let (a, b) = (self.scalar(a), self.scalar(b));
                format!("guard({}, {a}, {b})", show_shape(conds))
            }
        }
    }

    /// An operand, in parentheses if it binds less tightly than `least`.
    fn operand(&self, s: &Scalar, least: u8) -> String {
        match s {
            Scalar::Binary(op, ..) if binary_word(*op).1.is_some_and(|p| p < least) => {
                format!("({})", self.scalar(s))
            }
            _ => self.scalar(s),
        }
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A constant that reads back with the same bits.
pub(super) fn show_const(c: &Const) -> String {
    let d = c.dtype;
    if !d.is_float() {
        return match (d, c.bits) {
            (DType::Bool, 0) => "false".into(),
            (DType::Bool, 1) => "true".into(),
            _ if Const::int(d, c.as_int()) == *c => format!("{}{d}", c.as_int()),
            _ => format!("raw_{d}({:#x})", c.bits),
        };
    }
    let x = c.as_f64();
    if Const::new(d, x) != *c || (x.is_nan() && Const::new(d, f64::NAN) != *c) {
        return format!("raw_{d}({:#x})", c.bits);
    }
    match x {
        _ if x.is_nan() => format!("nan_{d}"),
        _ if x.is_infinite() => format!("{}inf_{d}", if x < 0.0 { "-" } else { "" }),
        _ if d == DType::F64 => format!("{x:?}{d}"),
        _ => format!("{:?}{d}", x as f32),
    }
}

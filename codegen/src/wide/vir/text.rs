//! The printed form of a function, for debugging and messages.

use super::{Addr, Block, Class, Function, Inst, LoadForm, StoreForm, Target, Terminator, Value};
use std::fmt::{self, Display, Formatter};

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl Display for Addr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.base)?;
        if let Some((index, scale)) = self.index {
            write!(f, " + {index}*{scale}")?;
        }
        if self.disp != 0 {
            write!(f, " {:+}", self.disp)?;
        }
        write!(f, "]")
    }
}

struct List<'a>(&'a [Value]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, v) in self.0.iter().enumerate() {
            write!(f, "{}{v}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.block, List(&self.args))
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Terminator::Jump(t) => write!(f, "jump {t}"),
            Terminator::Branch {
                cmp,
                a,
                b,
                then,
                other,
            } => write!(f, "branch {} {a}, {b} ? {then} : {other}", lower(cmp)),
            Terminator::Return => write!(f, "return"),
        }
    }
}

fn lower(x: &impl fmt::Debug) -> String {
    format!("{x:?}").to_lowercase()
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Inst::IConst(c) => write!(f, "iconst {c}"),
            Inst::Int { op, a, b } => write!(f, "int.{} {a}, {b}", lower(op)),
            Inst::IntShift { op, a, amount } => write!(f, "int.{} {a}, {amount}", lower(op)),
            Inst::Lea(addr) => write!(f, "lea {addr}"),
            Inst::IntLoad { ty, addr } => write!(f, "load.{} {addr}", lower(ty)),
            Inst::IntStore { ty, addr, value } => write!(f, "store.{} {addr}, {value}", lower(ty)),
            Inst::Prefetch(addr) => write!(f, "prefetch {addr}"),
            Inst::SplatInt(a) => write!(f, "splat_int {a}"),
            Inst::Splat { elem, bits } => write!(f, "splat.{} {bits:#x}", lower(elem)),
            Inst::Lanes { elem, bits } => write!(f, "lanes.{} {bits:x?}", lower(elem)),
            Inst::Load { elem, form, addr } => match form {
                LoadForm::Masked(m) => write!(f, "load.{} masked {m}, {addr}", lower(elem)),
                LoadForm::Part(k, v) => write!(f, "load.{} part {k}, {v}, {addr}", lower(elem)),
                _ => write!(f, "load.{} {} {addr}", lower(elem), lower(form)),
            },
            Inst::Store {
                elem,
                form,
                addr,
                value,
            } => match form {
                StoreForm::Masked(m) => {
                    write!(f, "store.{} masked {m}, {addr}, {value}", lower(elem))
                }
                StoreForm::Part(k) => write!(f, "store.{} part {k}, {addr}, {value}", lower(elem)),
                _ => write!(f, "store.{} {} {addr}, {value}", lower(elem), lower(form)),
            },
            Inst::LoadShort { ty, mask, addr } => match mask {
                Some(m) => write!(f, "load.{} masked {m}, {addr}", lower(ty)),
                None => write!(f, "load.{} full {addr}", lower(ty)),
            },
            Inst::StoreShort {
                ty,
                mask,
                addr,
                value,
            } => match mask {
                Some(m) => write!(f, "store.{} masked {m}, {addr}, {value}", lower(ty)),
                None => write!(f, "store.{} full {addr}, {value}", lower(ty)),
            },
            Inst::Unary { op, elem, a } => write!(f, "{}.{} {a}", lower(op), lower(elem)),
            Inst::Binary { op, elem, a, b } => {
                write!(f, "{}.{} {a}, {b}", lower(op), lower(elem))
            }
            Inst::Shift { op, a, amount } => write!(f, "{}.i32 {a}, {amount}", lower(op)),
            Inst::Fma { op, elem, a, b, c } => {
                write!(f, "{}.{} {a}, {b}, {c}", lower(op), lower(elem))
            }
            Inst::Dot { a, b, c } => write!(f, "dot {a}, {b}, {c}"),
            Inst::Cmp { cmp, elem, a, b } => {
                write!(f, "cmp.{}.{} {a}, {b}", lower(cmp), lower(elem))
            }
            Inst::Mask { op, a, b } => write!(f, "mask.{} {a}, {b}", lower(op)),
            Inst::MaskNot(a) => write!(f, "mask.not {a}"),
            Inst::MaskBits(a) => write!(f, "mask.bits {a}"),
            Inst::Select { elem, mask, a, b } => {
                write!(f, "select.{} {mask}, {a}, {b}", lower(elem))
            }
            Inst::Permute { elem, a, lanes } => {
                write!(f, "permute.{} {a}, {lanes:?}", lower(elem))
            }
            Inst::Pick { elem, a, b, lanes } => {
                write!(f, "pick.{} {a}, {b}, {lanes:?}", lower(elem))
            }
            Inst::Zip { op, a, b } => write!(f, "zip.{} {a}, {b}", lower(op)),
            Inst::TailMask { elem, count } => write!(f, "tail_mask.{} {count}", lower(elem)),
            Inst::Reduce { op, elem, a } => write!(f, "reduce.{}.{} {a}", lower(op), lower(elem)),
        }
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let w = self.width.bytes() * 8;
        writeln!(f, "tile {}(v0: int) x{w} {{", self.name)?;
        for (i, data) in self.blocks.iter().enumerate() {
            write!(f, "b{i}(")?;
            for (n, p) in data.params.iter().enumerate() {
                let class = lower(&self.class(*p));
                write!(f, "{}{p}: {class}", if n == 0 { "" } else { ", " })?;
            }
            writeln!(f, "):")?;
            for (result, inst) in &data.insts {
                match result {
                    Some(v) => writeln!(f, "  {v}: {} = {inst}", class_name(self.class(*v)))?,
                    None => writeln!(f, "  {inst}")?,
                }
            }
            match &data.term {
                Some(t) => writeln!(f, "  {t}")?,
                None => writeln!(f, "  <open>")?,
            }
        }
        writeln!(f, "}}")
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Int => "int",
        Class::Vec => "vec",
        Class::Mask => "mask",
    }
}

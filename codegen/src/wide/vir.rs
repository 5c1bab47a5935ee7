//! SSA vector IR: what a tile computes, before registers.
//!
//! A function takes one argument, a pointer to 64-bit words ([`FunctionBuilder::args`]), and
//! returns nothing. Values belong to three classes ([`Class`]); the width of all vectors of a
//! function is one parameter ([`Width`]), so that the same builder calls give 256- or 512-bit code.
//! The element type is a field of the instruction, never of the value.

mod again;
mod build;
mod forward;
mod interleave;
mod late;
mod live;
mod ops;
mod steps;
mod text;
mod verify;

pub use build::{FunctionBuilder, Loop};
pub use interleave::Place;
pub use ops::{
    BinaryOp, Cmp, Elem, FmaOp, IntOp, IntTy, LoadForm, MaskOp, ReduceOp, ShiftOp, StoreForm,
    UnaryOp, Width, ZipOp,
};

/// Class of a value: which register file holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A 64-bit integer or address.
    Int,
    /// A vector of the function's width.
    Vec,
    /// One truth value a lane.
    Mask,
}

/// An SSA value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

/// A basic block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block(pub(crate) u32);

impl Value {
    /// Position in the function's table of values.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Block {
    /// Position in the function's table of blocks.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// `base + index * scale + disp`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// The pointer.
    pub base: Value,
    /// An integer and its scale: 1, 2, 4 or 8.
    pub index: Option<(Value, u8)>,
    /// Constant offset.
    pub disp: i32,
}

impl Addr {
    /// The address `base`.
    pub const fn new(base: Value) -> Self {
        Self {
            base,
            index: None,
            disp: 0,
        }
    }

    /// The address `base + disp`.
    pub const fn at(base: Value, disp: i32) -> Self {
        Self {
            base,
            index: None,
            disp,
        }
    }

    /// The address `base + index * scale`.
    pub const fn indexed(base: Value, index: Value, scale: u8) -> Self {
        Self {
            base,
            index: Some((index, scale)),
            disp: 0,
        }
    }

    /// The same address with its constant offset replaced by `disp`.
    #[must_use]
    pub const fn disp(self, disp: i32) -> Self {
        Self { disp, ..self }
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// An integer constant.
    IConst(i64),
    /// Integer arithmetic.
    Int {
        /// Operation.
        op: IntOp,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
    },
    /// Integer shift by a constant.
    IntShift {
        /// Operation.
        op: ShiftOp,
        /// Shifted value.
        a: Value,
        /// Bits.
        amount: u8,
    },
    /// The value of an address.
    Lea(Addr),
    /// Integer load.
    IntLoad {
        /// Type in memory.
        ty: IntTy,
        /// Where.
        addr: Addr,
    },
    /// Integer store of the low bits.
    IntStore {
        /// Type in memory.
        ty: IntTy,
        /// Where.
        addr: Addr,
        /// What.
        value: Value,
    },
    /// A hint that the line at `addr` is read soon.
    Prefetch(Addr),
    /// The low 32 bits of an integer in every lane.
    SplatInt(Value),
    /// A constant, the same bits in every lane.
    Splat {
        /// Element type.
        elem: Elem,
        /// Bits of the element, in the low end.
        bits: u64,
    },
    /// A constant with bits of its own for every lane.
    Lanes {
        /// Element type.
        elem: Elem,
        /// Bits of each element, as many as the width has lanes.
        bits: Vec<u64>,
    },
    /// Vector load. No alignment beyond the element's is required.
    Load {
        /// Element type.
        elem: Elem,
        /// Which lanes come from where.
        form: LoadForm,
        /// Where.
        addr: Addr,
    },
    /// Vector store. No alignment beyond the element's is required.
    Store {
        /// Element type.
        elem: Elem,
        /// Which lanes go where.
        form: StoreForm,
        /// Where.
        addr: Addr,
        /// What.
        value: Value,
    },
    /// Vector load of consecutive integers of 8 or 16 bits, extended to I32.
    LoadShort {
        /// Type in memory.
        ty: IntTy,
        /// Lanes that are loaded, zero elsewhere; all without a mask (512 bits only).
        mask: Option<Value>,
        /// Where.
        addr: Addr,
    },
    /// Vector store of the low 8 or 16 bits of I32 lanes to consecutive integers.
    StoreShort {
        /// Type in memory.
        ty: IntTy,
        /// Lanes that are stored; all without a mask (512 bits only).
        mask: Option<Value>,
        /// Where.
        addr: Addr,
        /// What.
        value: Value,
    },
    /// Lane-wise operation of one operand.
    Unary {
        /// Operation.
        op: UnaryOp,
        /// Element type of the operand.
        elem: Elem,
        /// Operand.
        a: Value,
    },
    /// Lane-wise operation of two operands.
    Binary {
        /// Operation.
        op: BinaryOp,
        /// Element type.
        elem: Elem,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
    },
    /// Lane-wise I32 shift by a constant.
    Shift {
        /// Operation.
        op: ShiftOp,
        /// Shifted vector.
        a: Value,
        /// Bits.
        amount: u8,
    },
    /// Fused multiply-add, rounded once.
    Fma {
        /// Signs.
        op: FmaOp,
        /// Element type.
        elem: Elem,
        /// Multiplicand.
        a: Value,
        /// Multiplicand.
        b: Value,
        /// Addend.
        c: Value,
    },
    /// `c` plus the products of the four bytes of each lane: those of `a` have no sign, those of `b`
    /// have one. Sums wrap. Not every target has it.
    Dot {
        /// Bytes without a sign.
        a: Value,
        /// Bytes with a sign.
        b: Value,
        /// I32 addend.
        c: Value,
    },
    /// Lane-wise comparison.
    Cmp {
        /// Comparison.
        cmp: Cmp,
        /// Element type.
        elem: Elem,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
    },
    /// Mask arithmetic.
    Mask {
        /// Operation.
        op: MaskOp,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
    },
    /// The mask of the lanes outside a mask.
    MaskNot(Value),
    /// A mask as an integer: one bit a lane, lane 0 lowest.
    MaskBits(Value),
    /// Lanes of `a` where the mask holds, of `b` elsewhere.
    Select {
        /// Element type.
        elem: Elem,
        /// Which.
        mask: Value,
        /// Taken where the mask holds.
        a: Value,
        /// Taken elsewhere.
        b: Value,
    },
    /// Lane `lanes[i]` of a vector as lane `i`.
    Permute {
        /// Element type.
        elem: Elem,
        /// Operand.
        a: Value,
        /// As many as the width has lanes.
        lanes: Vec<u8>,
    },
    /// Lane `lanes[i]` of two vectors one after the other as lane `i` (512 bits only).
    Pick {
        /// Element type.
        elem: Elem,
        /// The vector of the first lanes.
        a: Value,
        /// The vector of the lanes behind them.
        b: Value,
        /// As many as the width has lanes.
        lanes: Vec<u8>,
    },
    /// Elements of two vectors side by side, as [`ZipOp`] defines.
    Zip {
        /// Which elements.
        op: ZipOp,
        /// First operand.
        a: Value,
        /// Second operand.
        b: Value,
    },
    /// The mask of the lanes below `count`, which is read as a signed 32-bit integer.
    TailMask {
        /// Element type.
        elem: Elem,
        /// Number of lanes; none when not positive, all when at least the lanes.
        count: Value,
    },
    /// Horizontal reduction, its result in every lane as [`ReduceOp`] defines.
    Reduce {
        /// Operation.
        op: ReduceOp,
        /// Element type.
        elem: Elem,
        /// Operand.
        a: Value,
    },
}

/// A jump's target with the values of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub block: Block,
    /// One value a parameter.
    pub args: Vec<Value>,
}

/// The end of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Terminator {
    /// Unconditional.
    Jump(Target),
    /// `if a cmp b` (signed) goes to `then`, otherwise to `other`.
    Branch {
        /// Comparison; never [`Cmp::Unordered`].
        cmp: Cmp,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
        /// Target when it holds.
        then: Target,
        /// Target when it does not.
        other: Target,
    },
    /// Back to the caller.
    Return,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Def {
    /// The function's argument pointer.
    Args,
    /// A block's parameter.
    Param(Block, u32),
    /// The instruction at this position of a block.
    Inst(Block, u32),
}

/// A block: parameters, instructions with their results, terminator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockData {
    /// Parameters.
    pub params: Vec<Value>,
    /// Instructions and their results.
    pub insts: Vec<(Option<Value>, Inst)>,
    /// `None` only while building.
    pub term: Option<Terminator>,
}

/// A leaf function over vectors of one width.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub(crate) name: String,
    pub(crate) width: Width,
    pub(crate) values: Vec<(Class, Def)>,
    pub(crate) blocks: Vec<BlockData>,
}

impl Function {
    /// The function's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The width of its vectors.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The blocks; the first is the entry.
    pub fn blocks(&self) -> &[BlockData] {
        &self.blocks
    }

    /// The class of a value.
    pub fn class(&self, v: Value) -> Class {
        self.values[v.index()].0
    }

    /// Where a value is defined.
    pub fn def(&self, v: Value) -> Def {
        self.values[v.index()].1
    }

    /// The defining instruction of a value, if it has one.
    pub fn def_inst(&self, v: Value) -> Option<&Inst> {
        match self.def(v) {
            Def::Inst(b, i) => Some(&self.blocks[b.index()].insts[i as usize].1),
            Def::Args | Def::Param(..) => None,
        }
    }

    /// Number of values.
    pub fn num_values(&self) -> usize {
        self.values.len()
    }
}

/// Calls `$visit` with each operand of an instruction, as it is borrowed, and the class it must have.
macro_rules! each_operand {
    (address $addr:expr, $visit:ident) => {{
        let Addr { base, index, .. } = $addr;
        $visit(base, I);
        if let Some((index, _)) = index {
            $visit(index, I);
        }
    }};
    ($inst:expr, $visit:expr) => {{
        use Class::{Int as I, Mask as M, Vec as V};
        let mut visit = $visit;
        match $inst {
            Inst::IConst(_) | Inst::Splat { .. } | Inst::Lanes { .. } => {}
            Inst::Int { a, b, .. } => {
                visit(a, I);
                visit(b, I);
            }
            Inst::IntShift { a, .. } | Inst::SplatInt(a) => visit(a, I),
            Inst::TailMask { count, .. } => visit(count, I),
            Inst::Lea(addr) | Inst::IntLoad { addr, .. } | Inst::Prefetch(addr) => {
                each_operand!(address addr, visit);
            }
            Inst::IntStore { addr, value, .. } => {
                each_operand!(address addr, visit);
                visit(value, I);
            }
            Inst::Load { form, addr, .. } => {
                each_operand!(address addr, visit);
                match form {
                    LoadForm::Masked(m) => visit(m, M),
                    LoadForm::Part(_, others) => visit(others, V),
                    LoadForm::Full | LoadForm::Broadcast | LoadForm::Lane => {}
                }
            }
            Inst::Store {
                form, addr, value, ..
            } => {
                each_operand!(address addr, visit);
                if let StoreForm::Masked(m) = form {
                    visit(m, M);
                }
                visit(value, V);
            }
            Inst::LoadShort { mask, addr, .. } => {
                each_operand!(address addr, visit);
                if let Some(m) = mask {
                    visit(m, M);
                }
            }
            Inst::StoreShort {
                mask, addr, value, ..
            } => {
                each_operand!(address addr, visit);
                if let Some(m) = mask {
                    visit(m, M);
                }
                visit(value, V);
            }
            Inst::Unary { a, .. }
            | Inst::Shift { a, .. }
            | Inst::Reduce { a, .. }
            | Inst::Permute { a, .. } => visit(a, V),
            Inst::Binary { a, b, .. }
            | Inst::Cmp { a, b, .. }
            | Inst::Zip { a, b, .. }
            | Inst::Pick { a, b, .. } => {
                visit(a, V);
                visit(b, V);
            }
            Inst::Fma { a, b, c, .. } | Inst::Dot { a, b, c } => {
                visit(a, V);
                visit(b, V);
                visit(c, V);
            }
            Inst::Mask { a, b, .. } => {
                visit(a, M);
                visit(b, M);
            }
            Inst::MaskNot(a) | Inst::MaskBits(a) => visit(a, M),
            Inst::Select { mask, a, b, .. } => {
                visit(mask, M);
                visit(a, V);
                visit(b, V);
            }
        }
    }};
}

impl Inst {
    /// The class of the result, `None` for stores and hints.
    pub fn result(&self) -> Option<Class> {
        use Inst::*;
        Some(match self {
            IConst(_) | Int { .. } | IntShift { .. } | Lea(_) | IntLoad { .. } | MaskBits(_) => {
                Class::Int
            }
            IntStore { .. } | Prefetch(_) | Store { .. } | StoreShort { .. } => return None,
            Cmp { .. } | Mask { .. } | MaskNot(_) | TailMask { .. } => Class::Mask,
            _ => Class::Vec,
        })
    }

    /// Whether memory is written.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Inst::Store { .. } | Inst::StoreShort { .. } | Inst::IntStore { .. }
        )
    }

    /// Calls `visit` with every operand and the class it must have.
    pub fn operands(&self, mut visit: impl FnMut(Value, Class)) {
        each_operand!(self, |v: &Value, class| visit(*v, class));
    }

    /// Calls `visit` with every operand, to be changed.
    fn operands_mut(&mut self, mut visit: impl FnMut(&mut Value)) {
        each_operand!(self, |v: &mut Value, _| visit(v));
    }
}

impl Terminator {
    /// The targets, in order.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let (first, second) = match self {
            Terminator::Jump(t) => (Some(t), None),
            Terminator::Branch { then, other, .. } => (Some(then), Some(other)),
            Terminator::Return => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The targets, in order, to be changed.
    fn targets_mut(&mut self) -> impl Iterator<Item = &mut Target> {
        let (first, second) = match self {
            Terminator::Jump(t) => (Some(t), None),
            Terminator::Branch { then, other, .. } => (Some(then), Some(other)),
            Terminator::Return => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// Calls `visit` with every value read.
    pub fn operands(&self, mut visit: impl FnMut(Value)) {
        if let Terminator::Branch { a, b, .. } = self {
            visit(*a);
            visit(*b);
        }
        self.targets().flat_map(|t| &t.args).for_each(|v| visit(*v));
    }

    /// Calls `visit` with every value read, to be changed.
    fn operands_mut(&mut self, mut visit: impl FnMut(&mut Value)) {
        if let Terminator::Branch { a, b, .. } = self {
            visit(a);
            visit(b);
        }
        self.targets_mut().flat_map(|t| &mut t.args).for_each(visit);
    }
}

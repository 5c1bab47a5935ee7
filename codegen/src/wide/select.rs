//! Instruction choice: vector IR to machine instructions over virtual registers.
//!
//! Constants are never carried in registers across blocks: they are memory operands in the pool
//! where the instruction has room for one, and are made anew where it has not. A full or broadcast
//! load with a single user in its block becomes that user's memory operand when no store lies
//! between.

mod first;
mod fold;
mod halves;
mod vector;

use self::fold::Uses;
use super::codes;
use super::minst::{Arg, Kind, MBlock, MFunction, MInst, Mem, PoolId, reg_class};
use super::pool::Pool;
use super::target::{DotForm, WideTarget};
use super::vir::{self, Addr, Class, Cmp, Inst, IntOp, Target, Terminator, Value, Width};
use iced_x86::Code;
use regalloc2::{Block, VReg};
use std::collections::HashMap;

/// Machine code before allocation, with its constants.
pub(super) struct Selected {
    pub(super) func: MFunction,
    pub(super) pool: Pool,
}

/// Selects instructions for a verified function.
pub(super) fn select(f: &vir::Function, target: &WideTarget) -> Selected {
    let mut reachable: Vec<vir::Block> = f.reverse_postorder();
    // Creation order keeps the builder's layout; the entry is first in both.
    reachable.sort_unstable();
    let mut block_of = vec![None; f.blocks.len()];
    for (at, b) in reachable.iter().enumerate() {
        block_of[b.index()] = Some(Block::new(at));
    }
    let mut selector = Selector {
        f,
        uses: Uses::new(f),
        dots: target.dots(f.width).unwrap_or(DotForm::Evex),
        pool: Pool::default(),
        vregs: vec![None; f.num_values()],
        num_vregs: 0,
        local: HashMap::new(),
        lane_numbers: None,
        block: vir::Block(0),
        at: 0,
        out: Vec::new(),
    };
    let blocks = reachable
        .iter()
        .map(|b| selector.block(*b, &block_of))
        .collect();
    Selected {
        func: MFunction::new(f.width, blocks, selector.num_vregs),
        pool: selector.pool,
    }
}

struct Selector<'a> {
    f: &'a vir::Function,
    uses: Uses,
    /// A target without them refuses the instruction when it is emitted.
    dots: DotForm,
    pool: Pool,
    vregs: Vec<Option<VReg>>,
    num_vregs: usize,
    /// Constants made in the current block.
    local: HashMap<Value, VReg>,
    /// The numbers of lanes that a register has in the current block.
    lane_numbers: Option<(PoolId, VReg)>,
    block: vir::Block,
    at: usize,
    out: Vec<MInst>,
}

/// The outgoing edges of a block, in order.
#[derive(Default)]
struct Edges {
    /// Values for the parameters of each target.
    args: Vec<Vec<VReg>>,
    /// Constants among them, made on the edge so that the other edge does not carry them.
    insts: Vec<Vec<MInst>>,
}

impl Selector<'_> {
    fn width(&self) -> Width {
        self.f.width
    }

    fn block(&mut self, block: vir::Block, block_of: &[Option<Block>]) -> MBlock {
        let f = self.f;
        let data = &f.blocks[block.index()];
        self.block = block;
        self.local.clear();
        self.lane_numbers = None;
        if block.index() == 0 {
            let args = self.vreg(Value(0));
            self.push(Kind::Entry, vec![Arg::Def(args)]);
        }
        for (at, (result, inst)) in data.insts.iter().enumerate() {
            self.at = at;
            self.inst(*result, inst);
        }
        self.at = data.insts.len();
        let term = data.term.as_ref();
        let term = term.expect("invariant: verified blocks have a terminator");
        let edges = self.terminator(term);
        let succ = |t: &Target| block_of[t.block.index()];
        MBlock {
            params: data.params.iter().map(|v| self.vreg(*v)).collect(),
            insts: std::mem::take(&mut self.out),
            succs: term
                .targets()
                .map(|t| succ(t).expect("invariant: successors of reachable blocks are reachable"))
                .collect(),
            succ_args: edges.args,
            edge_insts: edges.insts,
        }
    }

    fn terminator(&mut self, term: &Terminator) -> Edges {
        match term {
            Terminator::Jump(t) => {
                let args = t.args.iter().map(|v| self.edge_reg(*v)).collect();
                self.push(Kind::Jump, Vec::new());
                Edges {
                    args: vec![args],
                    insts: vec![Vec::new()],
                }
            }
            Terminator::Branch { cmp, a, b, .. } => {
                let swap = self.imm32(*a).is_some() && self.imm32(*b).is_none();
                let (cmp, a, b) = match swap {
                    true => (swapped(*cmp), *b, *a),
                    false => (*cmp, *a, *b),
                };
                self.compare(a, b);
                self.push(Kind::Branch(cmp), Vec::new());
                let body = std::mem::take(&mut self.out);
                let mut edges = Edges::default();
                for t in term.targets() {
                    let args = t.args.iter().map(|v| self.edge_reg(*v)).collect();
                    edges.args.push(args);
                    edges.insts.push(std::mem::take(&mut self.out));
                }
                self.out = body;
                edges
            }
            Terminator::Return => {
                self.push(Kind::Return, Vec::new());
                Edges::default()
            }
        }
    }

    fn push(&mut self, kind: Kind, args: Vec<Arg>) {
        self.out.push(MInst::new(kind, args));
    }

    fn code(&mut self, code: Code, args: Vec<Arg>) {
        self.push(Kind::Code(code), args);
    }

    fn fresh(&mut self, class: Class) -> VReg {
        let v = VReg::new(self.num_vregs, reg_class(class, self.width()));
        self.num_vregs += 1;
        v
    }

    /// The register that holds a value which is not folded.
    fn vreg(&mut self, v: Value) -> VReg {
        match self.vregs[v.index()] {
            Some(r) => r,
            None => {
                let r = self.fresh(self.f.class(v));
                self.vregs[v.index()] = Some(r);
                r
            }
        }
    }

    /// A register holding `v` here: constants and postponed loads are made now.
    fn reg(&mut self, v: Value) -> VReg {
        if let Some(r) = self.local.get(&v) {
            return *r;
        }
        let f = self.f;
        match f.def_inst(v) {
            Some(Inst::IConst(c)) => self.int_const(v, *c),
            Some(Inst::Splat { .. } | Inst::Lanes { .. }) => self.vector_const(v),
            Some(inst) if self.uses.postponed(v) => {
                let r = self.vreg(v);
                self.load_now(r, inst);
                r
            }
            _ => self.vreg(v),
        }
    }

    /// A register for a block parameter: a constant made apart can be made in the parameter's own
    /// register, where a shared one would be copied.
    fn edge_reg(&mut self, v: Value) -> VReg {
        self.local.remove(&v);
        let r = self.reg(v);
        self.local.remove(&v);
        r
    }

    fn int_const(&mut self, v: Value, c: i64) -> VReg {
        let r = self.fresh(Class::Int);
        let code = match c {
            _ if u32::try_from(c).is_ok() => Code::Mov_r32_imm32,
            _ if i32::try_from(c).is_ok() => Code::Mov_rm64_imm32,
            _ => Code::Mov_r64_imm64,
        };
        self.code(code, vec![Arg::Def(r), Arg::Imm(c)]);
        self.local.insert(v, r);
        r
    }

    /// The value of a constant that fits a sign-extended 32-bit immediate.
    fn imm32(&self, v: Value) -> Option<i32> {
        match self.f.def_inst(v) {
            Some(Inst::IConst(c)) => i32::try_from(*c).ok(),
            _ => None,
        }
    }

    fn mem(&mut self, addr: &Addr) -> Mem {
        Mem {
            base: self.reg(addr.base),
            index: addr.index.map(|(v, scale)| (self.reg(v), scale)),
            disp: addr.disp,
        }
    }

    fn dies(&self, v: Value) -> bool {
        self.uses.last_in(v, self.block, self.at)
    }

    fn compare(&mut self, a: Value, b: Value) {
        let left = Arg::Use(self.reg(a));
        match self.imm32(b) {
            Some(c) if i8::try_from(c).is_ok() => {
                self.code(Code::Cmp_rm64_imm8, vec![left, Arg::Imm(c.into())]);
            }
            Some(c) => self.code(Code::Cmp_rm64_imm32, vec![left, Arg::Imm(c.into())]),
            None => {
                let right = Arg::Use(self.reg(b));
                self.code(Code::Cmp_rm64_r64, vec![left, right]);
            }
        }
    }

    /// Integer instructions here, vectors in [`vector`].
    fn inst(&mut self, result: Option<Value>, inst: &Inst) {
        match inst {
            Inst::IConst(_) | Inst::Splat { .. } | Inst::Lanes { .. } => {}
            Inst::Int { op, a, b } => {
                let dst = self.result(result);
                self.int(*op, dst, *a, *b);
            }
            Inst::IntShift { op, a, amount } => {
                let tied = Arg::Tied(self.result(result), self.reg(*a));
                let imm = Arg::Imm(i64::from(*amount));
                self.code(codes::int_shift(*op), vec![tied, imm]);
            }
            Inst::Lea(addr) => {
                let args = vec![Arg::Def(self.result(result)), Arg::Mem(self.mem(addr))];
                self.code(Code::Lea_r64_m, args);
            }
            Inst::IntLoad { ty, addr } => {
                let args = vec![Arg::Def(self.result(result)), Arg::Mem(self.mem(addr))];
                self.code(codes::int_load(*ty), args);
            }
            Inst::IntStore { ty, addr, value } => {
                let args = vec![Arg::Mem(self.mem(addr)), Arg::Use(self.reg(*value))];
                self.code(codes::int_store(*ty), args);
            }
            Inst::Prefetch(addr) => {
                let args = vec![Arg::Mem(self.mem(addr))];
                self.code(Code::Prefetcht0_m8, args);
            }
            _ => self.vector(result, inst),
        }
    }

    fn result(&mut self, result: Option<Value>) -> VReg {
        self.vreg(result.expect("invariant: verified instructions have their result"))
    }

    fn int(&mut self, op: IntOp, dst: VReg, a: Value, b: Value) {
        let (a, b) = match op {
            IntOp::Add | IntOp::Mul if self.imm32(a).is_some() => (b, a),
            IntOp::Add | IntOp::Mul if !self.dies(a) && self.dies(b) => (b, a),
            _ => (a, b),
        };
        match (op, self.imm32(b)) {
            (IntOp::Add, Some(c)) => self.int_add(dst, a, c),
            (IntOp::Sub, Some(c)) if c != i32::MIN => self.int_add(dst, a, -c),
            (IntOp::Mul, Some(c)) => {
                let args = vec![Arg::Def(dst), Arg::Use(self.reg(a)), Arg::Imm(c.into())];
                self.code(Code::Imul_r64_rm64_imm32, args);
            }
            (IntOp::Add, None) if !self.dies(a) => {
                let mem = Mem {
                    base: self.reg(a),
                    index: Some((self.reg(b), 1)),
                    disp: 0,
                };
                self.code(Code::Lea_r64_m, vec![Arg::Def(dst), Arg::Mem(mem)]);
            }
            (IntOp::Add, _) => self.int_tied(Code::Add_r64_rm64, dst, a, b),
            (IntOp::Sub, _) => self.int_tied(Code::Sub_r64_rm64, dst, a, b),
            (IntOp::Mul, _) => self.int_tied(Code::Imul_r64_rm64, dst, a, b),
            (IntOp::Min | IntOp::Max, _) => {
                // Both are in registers before the comparison, so that nothing but moves can
                // come between it and its reader.
                let (ra, rb) = (self.reg(a), self.reg(b));
                self.code(Code::Cmp_rm64_r64, vec![Arg::Use(rb), Arg::Use(ra)]);
                let code = match op {
                    IntOp::Max => Code::Cmovg_r64_rm64,
                    _ => Code::Cmovl_r64_rm64,
                };
                self.code(code, vec![Arg::Tied(dst, ra), Arg::Use(rb)]);
            }
        }
    }

    fn int_tied(&mut self, code: Code, dst: VReg, a: Value, b: Value) {
        let args = vec![Arg::Tied(dst, self.reg(a)), Arg::Use(self.reg(b))];
        self.code(code, args);
    }

    fn int_add(&mut self, dst: VReg, a: Value, c: i32) {
        let src = self.reg(a);
        if !self.dies(a) {
            let mem = Mem {
                base: src,
                index: None,
                disp: c,
            };
            return self.code(Code::Lea_r64_m, vec![Arg::Def(dst), Arg::Mem(mem)]);
        }
        let code = match i8::try_from(c) {
            Ok(_) => Code::Add_rm64_imm8,
            Err(_) => Code::Add_rm64_imm32,
        };
        self.code(code, vec![Arg::Tied(dst, src), Arg::Imm(c.into())]);
    }

    fn pool_lanes(&mut self, lanes: impl Iterator<Item = u32>) -> PoolId {
        self.pool.intern(lanes.flat_map(u32::to_le_bytes).collect())
    }
}

/// The comparison that means the same with its operands exchanged.
fn swapped(cmp: Cmp) -> Cmp {
    match cmp {
        Cmp::Lt => Cmp::Gt,
        Cmp::Gt => Cmp::Lt,
        Cmp::Le => Cmp::Ge,
        Cmp::Ge => Cmp::Le,
        Cmp::Eq | Cmp::Ne | Cmp::Unordered => cmp,
    }
}

//! Machine instructions over virtual registers, as register allocation sees them.
//!
//! An instruction is an `iced_x86::Code` with its arguments in encoding order. Which arguments the
//! allocator must place, and how a physical register is named (`xmm3` or `zmm3`), follow from the
//! arguments and the code alone, so that selection is the only place that knows opcodes.

use super::vir::{Class, Cmp, Width};
use iced_x86::Code;
use regalloc2::{Block, Inst, InstRange, Operand, PRegSet, RegClass, VReg};

/// An entry of the constant pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolId(pub(super) u32);

/// `base + index * scale + disp` over virtual registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mem {
    pub(super) base: VReg,
    pub(super) index: Option<(VReg, u8)>,
    pub(super) disp: i32,
}

/// An argument of a machine instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// A register that is written.
    Def(VReg),
    /// A register that is read.
    Use(VReg),
    /// A register that is read as the second and written as the first.
    Tied(VReg, VReg),
    /// The register of argument 0 once more; its old content does not matter.
    Same,
    /// Memory at an address.
    Mem(Mem),
    /// Memory in the constant pool.
    Pool(PoolId),
    /// An immediate.
    Imm(i64),
}

/// What a machine instruction is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The function's argument arrives in its fixed register; no code.
    Entry,
    /// One encoded instruction.
    Code(Code),
    /// To the block's only successor.
    Jump,
    /// By the flags of the instruction before, to the block's first successor or to the second.
    Branch(Cmp),
    /// Epilogue and return.
    Return,
}

/// One machine instruction.
#[derive(Clone, Debug)]
pub(super) struct MInst {
    pub(super) kind: Kind,
    pub(super) args: Vec<Arg>,
    /// The memory argument is one element for all lanes (AVX-512 only).
    pub(super) broadcast: bool,
    /// Write mask (AVX-512 only).
    pub(super) mask: Option<VReg>,
    /// Lanes outside the write mask become zero.
    pub(super) zeroing: bool,
}

impl MInst {
    pub(super) fn new(kind: Kind, args: Vec<Arg>) -> Self {
        Self {
            kind,
            args,
            broadcast: false,
            mask: None,
            zeroing: false,
        }
    }
}

/// A block before allocation.
#[derive(Debug, Default)]
pub(super) struct MBlock {
    pub(super) params: Vec<VReg>,
    pub(super) insts: Vec<MInst>,
    pub(super) succs: Vec<Block>,
    /// Values for the parameters of each successor.
    pub(super) succ_args: Vec<Vec<VReg>>,
    /// Instructions that belong to the edge to each successor.
    pub(super) edge_insts: Vec<Vec<MInst>>,
}

/// A function before allocation; implements [`regalloc2::Function`].
#[derive(Debug)]
pub(super) struct MFunction {
    pub(super) width: Width,
    pub(super) blocks: Vec<BlockInfo>,
    pub(super) insts: Vec<MInst>,
    pub(super) num_vregs: usize,
    operands: Vec<Operand>,
    /// Start of each instruction's operands, and the end of the last.
    operand_starts: Vec<usize>,
}

/// A block in the flattened form.
#[derive(Debug)]
pub(super) struct BlockInfo {
    pub(super) range: InstRange,
    pub(super) succs: Vec<Block>,
    preds: Vec<Block>,
    params: Vec<VReg>,
    succ_args: Vec<Vec<VReg>>,
}

/// The allocator's class for values of a class.
pub(super) fn reg_class(class: Class, width: Width) -> RegClass {
    match (class, width) {
        (Class::Int, _) => RegClass::Int,
        (Class::Vec, _) | (Class::Mask, Width::Y256) => RegClass::Float,
        (Class::Mask, Width::Z512) => RegClass::Vector,
    }
}

impl MFunction {
    /// Splits critical edges and flattens the blocks in order.
    pub(super) fn new(width: Width, blocks: Vec<MBlock>, num_vregs: usize) -> Self {
        let mut f = Self {
            width,
            blocks: Vec::new(),
            insts: Vec::new(),
            num_vregs,
            operands: Vec::new(),
            operand_starts: vec![0],
        };
        for block in split_critical_edges(blocks) {
            f.add_block(block);
        }
        for b in 0..f.blocks.len() {
            for s in f.blocks[b].succs.clone() {
                f.blocks[s.index()].preds.push(Block::new(b));
            }
        }
        f
    }

    fn add_block(&mut self, block: MBlock) {
        let start = Inst::new(self.insts.len());
        for inst in block.insts {
            push_operands(&inst, &mut self.operands);
            self.operand_starts.push(self.operands.len());
            self.insts.push(inst);
        }
        self.blocks.push(BlockInfo {
            range: InstRange::new(start, Inst::new(self.insts.len())),
            succs: block.succs,
            preds: Vec::new(),
            params: block.params,
            succ_args: block.succ_args,
        });
    }
}

/// A block is inserted on every edge from a block of several successors to a block of several
/// predecessors, and on every edge with instructions of its own, right after the edge's source; it
/// takes over the edge's values.
fn split_critical_edges(blocks: Vec<MBlock>) -> Vec<MBlock> {
    let mut preds = vec![0usize; blocks.len()];
    for s in blocks.iter().flat_map(|b| &b.succs) {
        preds[s.index()] += 1;
    }
    let splits = |b: &MBlock, i: usize| {
        let critical = b.succs.len() > 1 && preds[b.succs[i].index()] > 1;
        critical || !b.edge_insts[i].is_empty()
    };
    let mut start = Vec::with_capacity(blocks.len());
    let mut at = 0;
    for b in &blocks {
        start.push(Block::new(at));
        at += 1 + (0..b.succs.len()).filter(|i| splits(b, *i)).count();
    }
    let mut out = Vec::with_capacity(at);
    for mut b in blocks {
        let here = out.len();
        let mut edges = Vec::new();
        for i in 0..b.succs.len() {
            let target = start[b.succs[i].index()];
            if splits(&b, i) {
                b.succs[i] = Block::new(here + 1 + edges.len());
                edges.push(edge_block(&mut b, i, target));
            } else {
                b.succs[i] = target;
            }
        }
        out.push(b);
        out.append(&mut edges);
    }
    out
}

fn edge_block(source: &mut MBlock, succ: usize, target: Block) -> MBlock {
    let mut insts = std::mem::take(&mut source.edge_insts[succ]);
    insts.push(MInst::new(Kind::Jump, Vec::new()));
    MBlock {
        params: Vec::new(),
        insts,
        succs: vec![target],
        succ_args: vec![std::mem::take(&mut source.succ_args[succ])],
        edge_insts: vec![Vec::new()],
    }
}

/// The registers of an instruction, in the order in which emission asks for them: a tied argument
/// gives its use, then its definition; an address its base, then its index; the mask is last.
fn push_operands(inst: &MInst, out: &mut Vec<Operand>) {
    let first = out.len();
    for arg in &inst.args {
        match *arg {
            Arg::Def(v) if matches!(inst.kind, Kind::Entry) => {
                out.push(Operand::reg_fixed_def(v, super::alloc::ARGUMENT));
            }
            Arg::Def(v) => out.push(Operand::reg_def(v)),
            Arg::Use(v) => out.push(Operand::reg_use(v)),
            Arg::Tied(def, used) => {
                out.push(Operand::reg_use(used));
                out.push(Operand::reg_reuse_def(def, out.len() - 1 - first));
            }
            Arg::Mem(m) => {
                out.push(Operand::reg_use(m.base));
                out.extend(m.index.map(|(v, _)| Operand::reg_use(v)));
            }
            Arg::Same | Arg::Pool(_) | Arg::Imm(_) => {}
        }
    }
    out.extend(inst.mask.map(Operand::reg_use));
}

impl regalloc2::Function for MFunction {
    fn num_insts(&self) -> usize {
        self.insts.len()
    }

    fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn entry_block(&self) -> Block {
        Block::new(0)
    }

    fn block_insns(&self, block: Block) -> InstRange {
        self.blocks[block.index()].range
    }

    fn block_succs(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].succs
    }

    fn block_preds(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].preds
    }

    fn block_params(&self, block: Block) -> &[VReg] {
        &self.blocks[block.index()].params
    }

    fn is_ret(&self, insn: Inst) -> bool {
        matches!(self.insts[insn.index()].kind, Kind::Return)
    }

    fn is_branch(&self, insn: Inst) -> bool {
        matches!(self.insts[insn.index()].kind, Kind::Jump | Kind::Branch(_))
    }

    fn branch_blockparams(&self, block: Block, _insn: Inst, succ_idx: usize) -> &[VReg] {
        &self.blocks[block.index()].succ_args[succ_idx]
    }

    fn inst_operands(&self, insn: Inst) -> &[Operand] {
        let at = insn.index();
        &self.operands[self.operand_starts[at]..self.operand_starts[at + 1]]
    }

    fn inst_clobbers(&self, _insn: Inst) -> PRegSet {
        PRegSet::empty()
    }

    fn num_vregs(&self) -> usize {
        self.num_vregs
    }

    fn spillslot_size(&self, class: RegClass) -> usize {
        match class {
            RegClass::Int | RegClass::Vector => 1,
            RegClass::Float => self.width.bytes() / 8,
        }
    }
}

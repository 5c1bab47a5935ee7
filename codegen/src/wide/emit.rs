//! Encoding: allocated machine instructions to bytes.

mod frame;
mod operand;

use self::frame::Frame;
use super::codes;
use super::minst::{Kind, MFunction};
use super::pool::ALIGN;
use super::select::Selected;
use super::target::WideTarget;
use super::vir::Cmp;
use super::{TileCode, TileStats, WideError};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, BlockEncoderResult, Code, Decoder, DecoderOptions,
    Formatter, Instruction, InstructionBlock, IntelFormatter, Mnemonic,
};
use regalloc2::{Allocation, Block, Edit, InstOrEdit, Output};

/// Instruction `i` stands at this address plus `i` until it is encoded.
const LABELS: u64 = 1 << 40;

/// Where the pool stands until the length of the code is known.
const POOL: u64 = 1 << 24;

/// Encodes a tile.
pub(super) fn emit(
    name: &str,
    selected: &Selected,
    output: &Output,
    target: &WideTarget,
) -> Result<TileCode, WideError> {
    let encode_error = |message: String| WideError::Encode {
        function: name.to_string(),
        message,
    };
    let (pool, offsets) = selected.pool.layout();
    let frame = Frame::new(&selected.func, output).map_err(encode_error)?;
    let mut emitter = Emitter {
        func: &selected.func,
        output,
        offsets,
        frame,
        insts: Vec::new(),
        block_starts: Vec::new(),
        branches: Vec::new(),
        stats: TileStats::default(),
    };
    emitter.run().map_err(encode_error)?;
    emitter.resolve_branches();
    for inst in &emitter.insts {
        check_features(inst, target)?;
    }
    let stats = TileStats {
        insts: emitter.insts.len() as u32,
        pool_bytes: pool.len() as u32,
        dots: (emitter.insts.iter())
            .filter(|i| i.mnemonic() == Mnemonic::Vpdpbusd)
            .count() as u32,
        ..emitter.stats
    };
    let (mut bytes, code_bytes) = encode(&emitter.insts).map_err(encode_error)?;
    bytes.extend_from_slice(&pool);
    Ok(TileCode {
        bytes,
        code_bytes,
        align: ALIGN as u32,
        stats,
    })
}

fn check_features(inst: &Instruction, target: &WideTarget) -> Result<(), WideError> {
    let features = inst.cpuid_features();
    match features.iter().find(|f| !target.features.allows(**f)) {
        None => Ok(()),
        Some(missing) => Err(WideError::Feature {
            instruction: inst.to_string(),
            feature: format!("{missing:?}"),
        }),
    }
}

struct Emitter<'a> {
    func: &'a MFunction,
    output: &'a Output,
    /// Offset of each pool entry.
    offsets: Vec<usize>,
    frame: Frame,
    insts: Vec<Instruction>,
    /// First instruction of each block.
    block_starts: Vec<usize>,
    /// Branches and their targets.
    branches: Vec<(usize, usize)>,
    stats: TileStats,
}

impl Emitter<'_> {
    fn run(&mut self) -> Result<(), String> {
        let layout = Layout::new(self.func, self.output);
        self.insts.extend(self.frame.prologue()?);
        for b in 0..self.func.blocks.len() {
            self.block_starts.push(self.insts.len());
            if layout.empty[b] {
                continue;
            }
            let items = self.output.block_insts_and_edits(self.func, Block::new(b));
            for item in items {
                match item {
                    InstOrEdit::Edit(Edit::Move { from, to }) => self.edit(*from, *to)?,
                    InstOrEdit::Inst(i) => self.inst(i, b, &layout)?,
                }
            }
        }
        Ok(())
    }

    fn edit(&mut self, from: Allocation, to: Allocation) -> Result<(), String> {
        if from == to {
            return Ok(());
        }
        match from.is_stack() || to.is_stack() {
            true => self.stats.spills += 1,
            false => self.stats.moves += 1,
        }
        let inst = operand::transfer(self.func.width, from, to)?;
        self.insts.push(inst);
        Ok(())
    }

    fn inst(&mut self, i: regalloc2::Inst, block: usize, layout: &Layout) -> Result<(), String> {
        let inst = &self.func.insts[i.index()];
        match inst.kind {
            Kind::Entry => {}
            Kind::Code(code) => {
                let allocs = self.output.inst_allocs(i);
                let built = operand::build(code, inst, allocs, |id| {
                    POOL + self.offsets[id.0 as usize] as u64
                })?;
                self.insts.push(built);
            }
            Kind::Jump => {
                let target = layout.target(self.func, block, 0);
                if !layout.follows(block, target) {
                    self.branch(Code::Jmp_rel32_64, target)?;
                }
            }
            Kind::Branch(cmp) => self.conditional(cmp, block, layout)?,
            Kind::Return => self.insts.extend(self.frame.epilogue()?),
        }
        Ok(())
    }

    fn conditional(&mut self, cmp: Cmp, block: usize, layout: &Layout) -> Result<(), String> {
        let then = layout.target(self.func, block, 0);
        let other = layout.target(self.func, block, 1);
        if layout.follows(block, then) {
            return self.branch(codes::jump_if(codes::negate(cmp)), other);
        }
        self.branch(codes::jump_if(cmp), then)?;
        if layout.follows(block, other) {
            return Ok(());
        }
        self.branch(Code::Jmp_rel32_64, other)
    }

    fn branch(&mut self, code: Code, target: usize) -> Result<(), String> {
        self.branches.push((self.insts.len(), target));
        let inst = Instruction::with_branch(code, LABELS).map_err(|e| e.to_string())?;
        self.insts.push(inst);
        Ok(())
    }

    fn resolve_branches(&mut self) {
        for (i, inst) in self.insts.iter_mut().enumerate() {
            inst.set_ip(LABELS + i as u64);
        }
        for (i, target) in &self.branches {
            self.insts[*i].set_near_branch64(LABELS + self.block_starts[*target] as u64);
        }
    }
}

/// Which blocks hold nothing but a jump, and where jumps through them end.
struct Layout {
    empty: Vec<bool>,
    /// The next block in order that is not empty.
    next: Vec<Option<usize>>,
}

impl Layout {
    fn new(func: &MFunction, output: &Output) -> Self {
        let n = func.blocks.len();
        let mut layout = Self {
            empty: (0..n).map(|b| is_empty(func, output, b)).collect(),
            next: vec![None; n],
        };
        // One block of a cycle of empty blocks has to stay.
        for b in 0..n {
            if layout.empty[b] && layout.through(func, b) == b {
                layout.empty[b] = false;
            }
        }
        let mut next = None;
        for b in (0..n).rev() {
            layout.next[b] = next;
            if !layout.empty[b] {
                next = Some(b);
            }
        }
        layout
    }

    /// The end of the chain of empty blocks that starts at `b`, or `b` on a cycle through it.
    fn through(&self, func: &MFunction, b: usize) -> usize {
        let mut at = b;
        for _ in 0..func.blocks.len() {
            if !self.empty[at] {
                return at;
            }
            at = func.blocks[at].succs[0].index();
            if at == b {
                return b;
            }
        }
        at
    }

    fn target(&self, func: &MFunction, block: usize, succ: usize) -> usize {
        self.through(func, func.blocks[block].succs[succ].index())
    }

    fn follows(&self, block: usize, target: usize) -> bool {
        self.next[block] == Some(target)
    }
}

fn is_empty(func: &MFunction, output: &Output, b: usize) -> bool {
    output
        .block_insts_and_edits(func, Block::new(b))
        .all(|item| match item {
            InstOrEdit::Edit(Edit::Move { from, to }) => from == to,
            InstOrEdit::Inst(i) => matches!(func.insts[i.index()].kind, Kind::Jump),
        })
}

/// Code padded to the pool's alignment, and its length before that.
fn encode(insts: &[Instruction]) -> Result<(Vec<u8>, usize), String> {
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS
        | BlockEncoderOptions::RETURN_CONSTANT_OFFSETS;
    let block = InstructionBlock::new(insts, 0);
    let encoded = BlockEncoder::encode(64, block, options).map_err(|e| e.to_string())?;
    let mut bytes = encoded.code_buffer.clone();
    let code_bytes = bytes.len();
    let pool = code_bytes.next_multiple_of(ALIGN);
    if pool as u64 >= POOL {
        return Err(format!("{code_bytes} bytes of code; make the tile smaller"));
    }
    bytes.resize(pool, 0xcc);
    for (i, inst) in insts.iter().enumerate() {
        if inst.is_ip_rel_memory_operand() {
            relocate(&mut bytes, &encoded, i, pool)?;
        }
    }
    Ok((bytes, code_bytes))
}

/// Moves the target of a pool operand from [`POOL`] to the pool.
fn relocate(
    bytes: &mut [u8],
    encoded: &BlockEncoderResult,
    inst: usize,
    pool: usize,
) -> Result<(), String> {
    let (start, field) = (
        encoded.new_instruction_offsets[inst] as usize,
        encoded.constant_offsets[inst],
    );
    let at = start + field.displacement_offset();
    let slot = bytes
        .get_mut(at..at + 4)
        .filter(|_| field.displacement_size() == 4)
        .ok_or("a pool operand was rewritten")?;
    let mut old = [0; 4];
    old.copy_from_slice(slot);
    let new = i64::from(i32::from_le_bytes(old)) - POOL as i64 + pool as i64;
    let new = i32::try_from(new).map_err(|e| e.to_string())?;
    slot.copy_from_slice(&new.to_le_bytes());
    Ok(())
}

/// The instructions in `code`, one a line, with their offsets.
pub fn disassemble(code: &[u8]) -> String {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_rip_relative_addresses(true);
    let mut out = String::new();
    let mut line = String::new();
    while decoder.can_decode() {
        let inst = decoder.decode();
        line.clear();
        formatter.format(&inst, &mut line);
        out.push_str(&format!("{:6x}  {line}\n", inst.ip()));
    }
    out
}

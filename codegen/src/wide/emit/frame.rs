//! The stack frame: registers to restore and spill slots.

use super::super::alloc::CALLEE_SAVED;
use super::super::minst::MFunction;
use super::operand::gpr;
use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};
use regalloc2::{Allocation, Edit, Output, RegClass};

/// Bytes of stack between two probes: the least size of a guard area.
const PAGE: i32 = 4096;

/// Bound on the spill slots of one tile, in bytes.
const MAX_SPILL_BYTES: usize = 64 << 10;

/// Spill slots are aligned to the widest vector.
const SLOT_ALIGN: usize = 64;

/// What the prologue sets up.
pub(super) struct Frame {
    saved: Vec<Register>,
    spill_bytes: i32,
}

impl Frame {
    pub(super) fn new(func: &MFunction, output: &Output) -> Result<Self, String> {
        let bytes = (output.num_spillslots * 8).next_multiple_of(SLOT_ALIGN);
        if bytes > MAX_SPILL_BYTES {
            return Err(format!(
                "{bytes} bytes of spill slots; make the tile smaller"
            ));
        }
        let mut written = [false; 16];
        let mut note = |a: &Allocation| {
            if let Some(r) = a.as_reg().filter(|r| r.class() == RegClass::Int) {
                written[r.hw_enc()] = true;
            }
        };
        debug_assert!(output.inst_alloc_offsets.len() == func.insts.len());
        output.allocs.iter().for_each(&mut note);
        for (_, Edit::Move { to, .. }) in &output.edits {
            note(to);
        }
        Ok(Self {
            saved: CALLEE_SAVED
                .into_iter()
                .filter(|r| written[*r])
                .map(gpr)
                .collect(),
            spill_bytes: bytes as i32,
        })
    }

    /// Saves registers; with spill slots, sets up rbp and an aligned rsp.
    pub(super) fn prologue(&self) -> Result<Vec<Instruction>, String> {
        self.enter().map_err(|e| e.to_string())
    }

    fn enter(&self) -> Result<Vec<Instruction>, IcedError> {
        use Register::{RAX, RBP, RSP};
        let mut out = Vec::new();
        if self.spill_bytes > 0 {
            out.push(Instruction::with1(Code::Push_r64, RBP)?);
            out.push(Instruction::with2(Code::Mov_r64_rm64, RBP, RSP)?);
        }
        for r in &self.saved {
            out.push(Instruction::with1(Code::Push_r64, *r)?);
        }
        let mut rest = self.spill_bytes;
        while rest > 0 {
            let step = rest.min(PAGE);
            out.push(Instruction::with2(Code::Sub_rm64_imm32, RSP, step)?);
            if step == PAGE {
                let top = MemoryOperand::with_base(RSP);
                out.push(Instruction::with2(Code::Mov_rm64_r64, top, RAX)?);
            }
            rest -= step;
        }
        if self.spill_bytes > 0 {
            let mask = -(SLOT_ALIGN as i32);
            out.push(Instruction::with2(Code::And_rm64_imm8, RSP, mask)?);
        }
        Ok(out)
    }

    /// Undoes the prologue and returns, with the upper halves of the vectors clear.
    pub(super) fn epilogue(&self) -> Result<Vec<Instruction>, String> {
        self.leave().map_err(|e| e.to_string())
    }

    fn leave(&self) -> Result<Vec<Instruction>, IcedError> {
        use Register::{RBP, RSP};
        let mut out = Vec::new();
        if self.spill_bytes > 0 {
            let saved = MemoryOperand::with_base_displ(RBP, -8 * self.saved.len() as i64);
            out.push(Instruction::with2(Code::Lea_r64_m, RSP, saved)?);
        }
        for r in self.saved.iter().rev() {
            out.push(Instruction::with1(Code::Pop_r64, *r)?);
        }
        if self.spill_bytes > 0 {
            out.push(Instruction::with1(Code::Pop_r64, RBP)?);
        }
        out.push(Instruction::with(Code::VEX_Vzeroupper));
        out.push(Instruction::with(Code::Retnq));
        Ok(out)
    }
}

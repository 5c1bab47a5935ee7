//! Calls of wide tiles.
use super::{Emitter, TileCall, scalar_type};
use crate::error::CodegenError;
use crate::wide::lower::{SCRATCH_WORDS, TileArg};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, types};

impl Emitter<'_, '_> {
    /// Fills the argument block on the stack, and calls the tile.
    pub(super) fn call_tile(&mut self, call: &TileCall) -> Result<(), CodegenError> {
        let words = SCRATCH_WORDS + call.args.len();
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            8 * words as u32,
            4,
        ));
        let flags = MemFlagsData::trusted();
        for (k, arg) in call.args.iter().enumerate() {
            let value = match arg {
                TileArg::Address(buffer, offset) => {
                    let offset = self.pinned_expr(offset);
                    let (address, disp) = self.address(*buffer, &offset);
                    match disp {
                        0 => address,
                        _ => {
                            let disp = self.b.ins().iconst(types::I64, i64::from(disp));
                            self.b.ins().iadd(address, disp)
                        }
                    }
                }
                TileArg::Value(e) => {
                    let e = self.pinned_expr(e);
                    self.expr(&e)
                }
                TileArg::Begin => self.entry.begin,
                TileArg::End => self.entry.end,
                TileArg::Register(buffer) => {
                    let variable = self.registers[buffer][0];
                    self.b.use_var(variable)
                }
            };
            let offset = 8 * (SCRATCH_WORDS + k) as i32;
            let base = self.b.ins().stack_addr(types::I64, slot, 0);
            self.b.ins().store(flags, value, base, offset);
        }
        let block = self.b.ins().stack_addr(types::I64, slot, 0);
        self.b.ins().call(call.function, &[block]);
        for buffer in &call.results {
            let word = TileArg::Register(*buffer);
            let word = call.args.iter().position(|a| *a == word);
            let word = word.expect("invariant: results are arguments");
            let offset = 8 * (SCRATCH_WORDS + word) as i32;
            let ty = scalar_type(self.kernel.buffer(*buffer).dtype);
            let value = self.b.ins().load(ty, flags, block, offset);
            self.b.def_var(self.registers[buffer][0], value);
        }
        Ok(())
    }
}

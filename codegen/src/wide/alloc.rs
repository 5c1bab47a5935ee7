//! Register allocation by `regalloc2`.

use super::minst::MFunction;
use super::vir::Width;
use regalloc2::{Algorithm, MachineEnv, Output, PReg, PRegSet, RegClass, RegallocOptions};

/// The register of the first argument in the System V ABI: `rdi`.
pub(super) const ARGUMENT: PReg = PReg::new(7, RegClass::Int);

/// Registers that the System V ABI gives to the callee freely: rax, rcx, rdx, rsi, rdi, r8 to r11.
const CALLER_SAVED: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// Registers to restore before returning: rbx, r12 to r15. rbp is the frame pointer.
pub(super) const CALLEE_SAVED: [usize; 5] = [3, 12, 13, 14, 15];

/// Places every virtual register.
///
/// Errors: the allocator's words.
pub(super) fn allocate(f: &MFunction) -> Result<Output, String> {
    let options = RegallocOptions {
        verbose_log: false,
        // The allocator's own check of SSA costs little and turns a defect into an error.
        validate_ssa: true,
        algorithm: Algorithm::Ion,
    };
    regalloc2::run(f, &environment(f.width), &options).map_err(|e| e.to_string())
}

fn environment(width: Width) -> MachineEnv {
    let set = |class, regs: &mut dyn Iterator<Item = usize>| -> PRegSet {
        regs.map(|r| PReg::new(r, class)).collect()
    };
    let (vectors, masks) = match width {
        Width::Y256 => (0..16, 0..0),
        // k0 cannot be named as a write mask.
        Width::Z512 => (0..32, 1..8),
    };
    MachineEnv {
        preferred_regs_by_class: [
            set(RegClass::Int, &mut CALLER_SAVED.into_iter()),
            set(RegClass::Float, &mut vectors.into_iter()),
            set(RegClass::Vector, &mut masks.into_iter()),
        ],
        non_preferred_regs_by_class: [
            set(RegClass::Int, &mut CALLEE_SAVED.into_iter()),
            PRegSet::empty(),
            PRegSet::empty(),
        ],
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

//! Physical registers and memory in instructions.

use super::super::minst::{Arg, MInst, PoolId};
use super::super::vir::Width;
use iced_x86::{Code, Instruction, OpCodeOperandKind, OpKind, Register};
use regalloc2::{Allocation, PReg, RegClass};

/// How an instruction names a register of a file.
#[derive(Clone, Copy)]
enum View {
    R8,
    R16,
    R32,
    R64,
    Xmm,
    Ymm,
    Zmm,
    K,
}

impl View {
    fn first(self) -> Register {
        match self {
            View::R8 => Register::AL,
            View::R16 => Register::AX,
            View::R32 => Register::EAX,
            View::R64 => Register::RAX,
            View::Xmm => Register::XMM0,
            View::Ymm => Register::YMM0,
            View::Zmm => Register::ZMM0,
            View::K => Register::K0,
        }
    }

    fn class(self) -> RegClass {
        match self {
            View::R8 | View::R16 | View::R32 | View::R64 => RegClass::Int,
            View::Xmm | View::Ymm | View::Zmm => RegClass::Float,
            View::K => RegClass::Vector,
        }
    }
}

/// The 64-bit general register of a number.
pub(super) fn gpr(n: usize) -> Register {
    View::R64.first() + n as u32
}

fn view(code: Code, operand: u32) -> Result<View, String> {
    use OpCodeOperandKind as O;
    Ok(match code.op_code().op_kind(operand) {
        O::r8_or_mem | O::r8_reg | O::r8_opcode => View::R8,
        O::r16_or_mem | O::r16_reg | O::r16_rm | O::r16_opcode => View::R16,
        O::r32_or_mem | O::r32_reg | O::r32_rm | O::r32_opcode => View::R32,
        O::r64_or_mem | O::r64_reg | O::r64_rm | O::r64_opcode => View::R64,
        O::xmm_or_mem | O::xmm_reg | O::xmm_rm | O::xmm_vvvv | O::xmm_is4 => View::Xmm,
        O::ymm_or_mem | O::ymm_reg | O::ymm_rm | O::ymm_vvvv | O::ymm_is4 => View::Ymm,
        O::zmm_or_mem | O::zmm_reg | O::zmm_rm | O::zmm_vvvv => View::Zmm,
        O::k_or_mem | O::k_reg | O::k_rm | O::k_vvvv => View::K,
        other => return Err(format!("{code:?} takes no register as {other:?}")),
    })
}

fn register(code: Code, operand: u32, preg: PReg) -> Result<Register, String> {
    let view = view(code, operand)?;
    if view.class() != preg.class() {
        return Err(format!("{code:?} operand {operand} cannot be {preg}"));
    }
    let number = preg.hw_enc() as u32;
    Ok(match view {
        // The names of the high halves of four registers come between.
        View::R8 if number >= 4 => Register::SPL + (number - 4),
        _ => view.first() + number,
    })
}

/// The registers that allocation gave an instruction, in the order of its operands.
struct Registers<'a>(std::slice::Iter<'a, Allocation>);

impl Registers<'_> {
    fn next(&mut self) -> Result<PReg, String> {
        let alloc = self.0.next().ok_or("an operand has no allocation")?;
        alloc
            .as_reg()
            .ok_or(format!("{alloc} where a register is needed"))
    }
}

/// The instruction with its registers; `pool` gives addresses in the pool.
pub(super) fn build(
    code: Code,
    inst: &MInst,
    allocs: &[Allocation],
    pool: impl Fn(PoolId) -> u64,
) -> Result<Instruction, String> {
    let mut regs = Registers(allocs.iter());
    let mut out = Instruction::default();
    out.set_code(code);
    for (i, arg) in inst.args.iter().enumerate() {
        let n = i as u32;
        match arg {
            Arg::Def(_) | Arg::Use(_) => set_register(&mut out, n, regs.next()?)?,
            Arg::Tied(..) => {
                let (used, def) = (regs.next()?, regs.next()?);
                if used != def {
                    return Err(format!("{code:?}: tied operands in {used} and {def}"));
                }
                set_register(&mut out, n, def)?;
            }
            Arg::Same => {
                let first = allocs.first().and_then(|a| a.as_reg());
                set_register(&mut out, n, first.ok_or("no first operand")?)?;
            }
            Arg::Mem(m) => {
                out.set_op_kind(n, OpKind::Memory);
                let base = gpr(regs.next()?.hw_enc());
                let index = match m.index {
                    Some((_, scale)) => Some((gpr(regs.next()?.hw_enc()), scale)),
                    None => None,
                };
                set_memory(&mut out, base, index, m.disp);
            }
            Arg::Pool(id) => {
                out.set_op_kind(n, OpKind::Memory);
                out.set_memory_base(Register::RIP);
                out.set_memory_displ_size(8);
                out.set_memory_displacement64(pool(*id));
            }
            Arg::Imm(value) => set_immediate(&mut out, n, *value)?,
        }
    }
    if inst.mask.is_some() {
        out.set_op_mask(View::K.first() + regs.next()?.hw_enc() as u32);
        out.set_zeroing_masking(inst.zeroing);
    }
    out.set_is_broadcast(inst.broadcast);
    Ok(out)
}

fn set_register(out: &mut Instruction, operand: u32, preg: PReg) -> Result<(), String> {
    let reg = register(out.code(), operand, preg)?;
    out.set_op_kind(operand, OpKind::Register);
    out.set_op_register(operand, reg);
    Ok(())
}

fn set_memory(out: &mut Instruction, base: Register, index: Option<(Register, u8)>, disp: i32) {
    out.set_memory_base(base);
    if let Some((index, scale)) = index {
        out.set_memory_index(index);
        out.set_memory_index_scale(u32::from(scale));
    }
    out.set_memory_displ_size(u32::from(disp != 0));
    out.set_memory_displacement64(i64::from(disp) as u64);
}

fn set_immediate(out: &mut Instruction, operand: u32, value: i64) -> Result<(), String> {
    use OpCodeOperandKind as O;
    let kind = match out.code().op_code().op_kind(operand) {
        O::imm8 => OpKind::Immediate8,
        O::imm8sex64 => OpKind::Immediate8to64,
        O::imm32 => OpKind::Immediate32,
        O::imm32sex64 => OpKind::Immediate32to64,
        O::imm64 => OpKind::Immediate64,
        other => return Err(format!("{:?} takes no immediate as {other:?}", out.code())),
    };
    out.set_op_kind(operand, kind);
    match kind {
        OpKind::Immediate8 => out.set_immediate8(value as u8),
        OpKind::Immediate8to64 => out.set_immediate8to64(value),
        OpKind::Immediate32 => out.set_immediate32(value as u32),
        OpKind::Immediate32to64 => out.set_immediate32to64(value),
        _ => out.set_immediate64(value as u64),
    }
    Ok(())
}

/// A move between registers, or between a register and a spill slot.
pub(super) fn transfer(
    width: Width,
    from: Allocation,
    to: Allocation,
) -> Result<Instruction, String> {
    let preg = from.as_reg().or(to.as_reg());
    let class = preg.ok_or("a move between spill slots")?.class();
    let (into_reg, into_memory) = match (class, width) {
        (RegClass::Int, _) => (Code::Mov_r64_rm64, Code::Mov_rm64_r64),
        (RegClass::Float, Width::Y256) => {
            (Code::VEX_Vmovaps_ymm_ymmm256, Code::VEX_Vmovaps_ymmm256_ymm)
        }
        (RegClass::Float, Width::Z512) => (
            Code::EVEX_Vmovaps_zmm_k1z_zmmm512,
            Code::EVEX_Vmovaps_zmmm512_k1z_zmm,
        ),
        (RegClass::Vector, _) => (Code::VEX_Kmovw_kr_km16, Code::VEX_Kmovw_m16_kr),
    };
    let mut out = Instruction::default();
    out.set_code(if to.is_stack() { into_memory } else { into_reg });
    for (operand, place) in [(0, to), (1, from)] {
        match place.as_reg() {
            Some(preg) => set_register(&mut out, operand, preg)?,
            None => {
                let slot = place.as_stack().ok_or("a move from nowhere")?;
                out.set_op_kind(operand, OpKind::Memory);
                set_memory(&mut out, Register::RSP, None, slot.index() as i32 * 8);
            }
        }
    }
    Ok(out)
}

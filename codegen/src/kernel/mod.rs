//! One kernel of the loop IR to one Cranelift function.
//!
//! The function is `(ctx, args, begin, end, scratch, site_base)`: `args` points to the addresses
//! of the kernel's parameters; `begin..end` are the iterations of the outermost parallel loop
//! that this call runs (without such a loop they are ignored). Of kernels that a team of threads
//! runs, they are the number of the thread and that of all threads.
pub(crate) mod expr;
mod fused;
pub(crate) mod lanes;
mod math;
mod ops;
mod scalar;
mod shorts;
mod stmt;
mod team;
mod tile;

use crate::error::CodegenError;
use crate::wide::lower::{TileArg, WhyNot};
use crate::wide::vir::Width;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, FuncRef, Function, InstBuilder, MemFlagsData, Signature, Type, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use expr::ExprEmitter;
use lanes::{Lane, RegisterLanes, Sums};
use std::collections::HashMap;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::team::{is_team, shared_scratch};
use tensmith_ir::loops::{BufferId, Kernel, Scope};
use tensmith_runtime::abi;

/// The signature of kernel functions.
pub fn signature(call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    let params = [
        types::I64,
        types::I64,
        types::I64,
        types::I64,
        types::I64,
        types::I32,
    ];
    signature.params.extend(params.map(AbiParam::new));
    signature
}

/// Units: bytes of per-thread scratch memory that a kernel needs, as an expression over sizes.
pub fn scratch_bytes(kernel: &Kernel) -> Expr {
    let scratch = kernel.buffers.iter().filter(|b| b.scope == Scope::Scratch);
    scratch.fold(Expr::from(0), |at, b| at + padded_bytes(b))
}

fn padded_bytes(buffer: &tensmith_ir::loops::Buffer) -> Expr {
    (buffer.count() * buffer.dtype.bytes()).ceil_div(64) * 64
}

/// The Cranelift type of one element in a register.
pub(crate) fn scalar_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        DType::I64 | DType::U64 => types::I64,
        DType::I32 | DType::U32 => types::I32,
        DType::F16 | DType::BF16 | DType::I16 | DType::U16 => types::I16,
        DType::I8 | DType::U8 | DType::Bool => types::I8,
    }
}

/// The Cranelift type of four elements; `bool` is a mask of 32-bit lanes.
pub(crate) fn vector_type(dtype: DType) -> Type {
    if dtype == DType::F32 {
        types::F32X4
    } else {
        types::I32X4
    }
}

/// The lanes of a vector register. The emitter knows 128-bit vectors of 32-bit elements.
pub(crate) const GROUP: i64 = 4;

/// Emits the body of one function.
pub(crate) struct Emitter<'a, 'f> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) b: FunctionBuilder<'f>,
    lanes: Vec<Lane>,
    register_lanes: RegisterLanes,
    registers: HashMap<BufferId, Vec<Variable>>,
    exprs: ExprEmitter,
    addresses: Vec<HashMap<(BufferId, Expr), Value>>,
    bases: Vec<Option<Value>>,
    entry: KernelArgs,
    /// How often a `vector` loop had to run lane by lane.
    scalarised: usize,
    ranges: Ranges,
    tiles: &'a TileCalls,
    native_fma: bool,
    /// The registers that open loops over lanes add up in.
    sums: Sums,
    /// Whether the code at hand runs whenever the kernel has anything to do.
    always: bool,
}

#[derive(Clone, Copy)]
struct KernelArgs {
    ctx: Value,
    begin: Value,
    end: Value,
    site_base: Value,
}

/// What emission found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// How many `vector` loops run lane by lane, because of an element type or a data-dependent
    /// branch that 128-bit vectors cannot carry.
    pub scalarised_loops: usize,
    /// How many loops run as tiles of wide vectors.
    pub wide_tiles: usize,
    /// The widest vectors of these tiles.
    pub widest: Option<Width>,
    /// Moves to and from spill slots in the code of these tiles.
    pub spills: u32,
    /// Dot products of bytes in the code of these tiles.
    pub dots: u32,
    /// How many lock-step nests stay at 128 bits although the target has wide vectors.
    pub narrow_tiles: usize,
    /// Why the first of them does.
    pub narrow_reason: Option<WhyNot>,
}

/// A wide tile that runs in place of a loop.
#[derive(Clone, Debug)]
pub(crate) struct TileCall {
    /// `extern "C" fn(args: *mut u64)`.
    pub function: FuncRef,
    /// What the words of its argument block hold.
    pub args: Vec<TileArg>,
    /// Registers whose words hold new values after the call.
    pub results: Vec<BufferId>,
}

/// The tiles of a kernel by the variables of the loops that they replace.
pub(crate) type TileCalls = HashMap<Var, TileCall>;

/// Fills `function` with the kernel's code; `tiles` are functions that run in place of loops;
/// `native_fma` states whether the target has a fused multiply-add.
///
/// Errors: what the emitter cannot express on this target.
pub(crate) fn emit(
    kernel: &Kernel,
    (isa, native_fma): (&dyn TargetIsa, bool),
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    tiles: &TileCalls,
) -> Result<KernelStats, CodegenError> {
    function.signature = signature(isa.default_call_conv());
    let mut b = FunctionBuilder::new(function, context);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    b.seal_block(block);
    let p = b.block_params(block).to_vec();
    let entry = KernelArgs {
        ctx: p[0],
        begin: p[2],
        end: p[3],
        site_base: p[5],
    };
    let mut emitter = Emitter {
        kernel,
        b,
        lanes: vec![],
        register_lanes: lanes::analyse(kernel),
        registers: HashMap::new(),
        exprs: ExprEmitter::new(vec![], vec![]),
        addresses: vec![HashMap::new()],
        bases: vec![None; kernel.buffers.len()],
        entry,
        scalarised: 0,
        ranges: kernel.ranges(),
        tiles,
        native_fma,
        sums: Sums::default(),
        always: true,
    };
    emitter.prologue(p[1], p[4]);
    emitter.declare_registers();
    match is_team(kernel) {
        true => emitter.team_kernel()?,
        false => emitter.statements(&kernel.body)?,
    }
    emitter.b.ins().return_(&[]);
    let stats = KernelStats {
        scalarised_loops: emitter.scalarised,
        wide_tiles: tiles.len(),
        ..KernelStats::default()
    };
    emitter.b.seal_all_blocks();
    emitter.b.finalize(isa.frontend_config());
    Ok(stats)
}

impl Emitter<'_, '_> {
    /// Loads sizes and addresses of parameters; lays scratch buffers out.
    fn prologue(&mut self, args: Value, scratch: Value) {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        let table = self
            .b
            .ins()
            .load(types::I64, flags, self.entry.ctx, abi::OFFSET_SIZES);
        let count = self.kernel.sizes.len() as i32;
        let sizes = (0..count)
            .map(|k| self.b.ins().load(types::I64, flags, table, 8 * k))
            .collect();
        self.exprs = ExprEmitter::new(self.kernel.sizes.clone(), sizes);
        let (mut param, mut at) = (0, Expr::from(0));
        // What a team shares lies in the scratch memory of its first thread.
        let team = is_team(self.kernel).then(|| {
            let of_first =
                self.b
                    .ins()
                    .load(types::I64, flags, self.entry.ctx, abi::OFFSET_SCRATCH);
            (of_first, shared_scratch(self.kernel))
        });
        for (k, buffer) in self.kernel.buffers.iter().enumerate() {
            self.bases[k] = match buffer.scope {
                Scope::Input | Scope::Output => {
                    param += 1;
                    Some(self.b.ins().load(types::I64, flags, args, 8 * (param - 1)))
                }
                Scope::Scratch => {
                    let offset = self.expr(&at);
                    at = at + padded_bytes(buffer);
                    let base = match &team {
                        Some((first, shared)) if shared.contains(&BufferId(k as u32)) => *first,
                        _ => scratch,
                    };
                    Some(self.b.ins().iadd(base, offset))
                }
                Scope::Register => None,
            };
        }
    }

    /// Gives each register its Cranelift variables, one per lane group.
    fn declare_registers(&mut self) {
        for (k, buffer) in self.kernel.buffers.iter().enumerate() {
            if buffer.scope != Scope::Register {
                continue;
            }
            let id = BufferId(k as u32);
            let shape = self.register_lanes.shape(id);
            let ty = if shape.vector {
                vector_type(buffer.dtype)
            } else {
                scalar_type(buffer.dtype)
            };
            let variables: Vec<Variable> =
                (0..shape.count).map(|_| self.b.declare_var(ty)).collect();
            for v in &variables {
                let zero = self.zero(ty);
                self.b.def_var(*v, zero);
            }
            self.registers.insert(id, variables);
        }
    }

    fn zero(&mut self, ty: Type) -> Value {
        match ty {
            types::F32 => self.b.ins().f32const(0.0),
            types::F64 => self.b.ins().f64const(0.0),
            types::F32X4 => {
                let z = self.b.ins().f32const(0.0);
                self.b.ins().splat(ty, z)
            }
            types::I32X4 => {
                let z = self.b.ins().iconst(types::I32, 0);
                self.b.ins().splat(ty, z)
            }
            ty => self.b.ins().iconst(ty, 0),
        }
    }

    /// Runs `f` in a scope of its own for values that are computed once.
    fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.exprs.open_scope();
        self.addresses.push(HashMap::new());
        let result = f(self);
        self.exprs.close_scope();
        self.addresses.pop();
        result
    }

    /// Runs `f` in a scope whose code may not run, so that none of its loads may run earlier.
    fn conditional<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let around = std::mem::replace(&mut self.always, false);
        let result = self.scoped(f);
        self.always = around;
        result
    }

    /// The value of an index expression.
    fn expr(&mut self, e: &Expr) -> Value {
        self.exprs.emit(&mut self.b, e)
    }

    /// Whether all expressions are at least 0: one 8-bit flag.
    fn all_non_negative(&mut self, conds: &[Expr]) -> Value {
        let mut joined: Option<Value> = None;
        for cond in conds {
            let v = self.expr(cond);
            joined = Some(match joined {
                Some(j) => self.b.ins().bor(j, v),
                None => v,
            });
        }
        let zero = self.b.ins().iconst(types::I64, 0);
        let joined = joined.unwrap_or(zero);
        self.b
            .ins()
            .icmp(IntCC::SignedGreaterThanOrEqual, joined, zero)
    }
}

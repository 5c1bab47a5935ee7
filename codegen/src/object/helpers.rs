//! The helpers of an object file: machine code for what `tensmith_runtime::executor` does in Rust.
use super::define_function;
use super::run::{put, slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, AtomicRmwOp, InstBuilder, MemFlagsData, Signature, Type, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Linkage, Module};
use cranelift_object::ObjectModule;
use tensmith_runtime::abi;

/// The functions that fill a table of helpers.
pub struct Callbacks {
    /// [`abi::Helpers::fail`].
    pub fail: FuncId,
    /// [`abi::Helpers::parallel`].
    pub parallel: FuncId,
}

/// Offsets in the record of a section that is being handed out: context, section, number of
/// parts, and a bit for each part that tells whether it has been claimed.
const CALL_CONTEXT: i32 = 0;
const CALL_SECTION: i32 = 8;
const CALL_PARTS: i32 = 16;
const CALL_CLAIMS: i32 = 24;

/// Units: bytes.
const CLAIM_BYTES: i32 = abi::MAX_PARTS as i32 / 8;

/// Defines the helpers.
pub fn define_callbacks(module: &mut ObjectModule, name: &str) -> Result<Callbacks, String> {
    let fail = define_fail(module, name)?;
    let part = define_part(module, name, fail)?;
    let parallel = define_parallel(module, name, (fail, part))?;
    Ok(Callbacks { fail, parallel })
}

/// Keeps the first error of the run.
fn define_fail(module: &mut ObjectModule, name: &str) -> Result<FuncId, String> {
    let symbol = format!("{name}_fail");
    let local = (&symbol[..], Linkage::Local);
    let params = [types::I64, types::I32, types::I32, types::I64, types::I64];
    define_function(module, local, (&params, &[]), |_, b, p| {
        let at = |field: usize| i64::from(abi::OFFSET_ERROR) + field as i64;
        let flags = MemFlagsData::trusted();
        let code = b.ins().iadd_imm_s(p[0], at(0));
        let none = b.ins().iconst(types::I32, i64::from(abi::ERROR_NONE));
        let known = b.ins().atomic_cas(flags, code, none, p[1]);
        let (write, done) = (b.create_block(), b.create_block());
        b.ins().brif(known, done, &[], write, &[]);
        b.switch_to_block(write);
        let fields = [
            (core::mem::offset_of!(abi::ErrorRecord, site), p[2]),
            (core::mem::offset_of!(abi::ErrorRecord, value), p[3]),
            (core::mem::offset_of!(abi::ErrorRecord, bound), p[4]),
        ];
        for (field, v) in fields {
            put(b, p[0], at(field) as i32, v);
        }
        b.ins().jump(done, &[]);
        b.switch_to_block(done);
        b.ins().return_(&[]);
    })
}

/// `void NAME_part(void *call, uint32_t part)`: what the caller's function calls for each part.
fn define_part(module: &mut ObjectModule, name: &str, fail: FuncId) -> Result<FuncId, String> {
    let symbol = format!("{name}_part");
    let local = (&symbol[..], Linkage::Local);
    let params = [types::I64, types::I32];
    define_function(module, local, (&params, &[]), |module, b, p| {
        let call = Call::load(b, p[0]);
        let (known, run) = (b.create_block(), b.create_block());
        let (refuse, done) = (b.create_block(), b.create_block());
        let parts = b.ins().ireduce(types::I32, call.parts);
        let fits = b.ins().icmp(IntCC::UnsignedLessThan, p[1], parts);
        b.ins().brif(fits, known, &[], refuse, &[]);
        b.switch_to_block(known);
        let part = b.ins().uextend(types::I64, p[1]);
        let taken = call.claim(b, part);
        b.ins().brif(taken, refuse, &[], run, &[]);
        b.switch_to_block(run);
        call.execute(b, p[1]);
        b.ins().jump(done, &[]);
        b.switch_to_block(refuse);
        let part = b.ins().uextend(types::I64, p[1]);
        call.fail((module, b), fail, (abi::ERROR_PART_REFUSED, part));
        b.ins().jump(done, &[]);
        b.switch_to_block(done);
        b.ins().return_(&[]);
    })
}

/// Has the caller's function run the parts of a section, then runs what it left out.
fn define_parallel(
    module: &mut ObjectModule,
    name: &str,
    (fail, part): (FuncId, FuncId),
) -> Result<FuncId, String> {
    let symbol = format!("{name}_parallel");
    let local = (&symbol[..], Linkage::Local);
    let params = [types::I64, types::I64, types::I32];
    define_function(module, local, (&params, &[]), |module, b, p| {
        let record = slot(b, (CALL_CLAIMS + CLAIM_BYTES) as usize);
        let record = b.ins().stack_addr(types::I64, record, 0);
        let zero = b.ins().iconst(types::I64, 0);
        for word in 0..CLAIM_BYTES / 8 {
            put(b, record, CALL_CLAIMS + 8 * word, zero);
        }
        let parts = b.ins().uextend(types::I64, p[2]);
        put(b, record, CALL_CONTEXT, p[0]);
        put(b, record, CALL_SECTION, p[1]);
        put(b, record, CALL_PARTS, parts);
        let part = module.declare_func_in_func(part, b.func);
        let body = b.ins().func_addr(types::I64, part);
        hand_out(b, p[0], [body, record], p[2]);
        let call = Call::load(b, record);
        complete((module, b), &call, fail);
        b.ins().return_(&[]);
    })
}

/// `parallel_for(user, body, call, parts)`, where the context's user points to the first two.
fn hand_out(b: &mut FunctionBuilder<'_>, ctx: Value, [body, call]: [Value; 2], parts: Value) {
    let flags = MemFlagsData::trusted();
    let pair = b.ins().load(types::I64, flags, ctx, abi::OFFSET_USER);
    let parallel_for = b.ins().load(types::I64, flags, pair, 0);
    let user = b.ins().load(types::I64, flags, pair, 8);
    let params = [types::I64, types::I64, types::I64, types::I32];
    call_address(b, parallel_for, &params, &[user, body, call, parts]);
}

/// Runs and reports the parts that nobody claimed.
fn complete((module, b): (&mut ObjectModule, &mut FunctionBuilder<'_>), call: &Call, fail: FuncId) {
    let (head, look) = (b.create_block(), b.create_block());
    let (run, next, exit) = (b.create_block(), b.create_block(), b.create_block());
    let part = b.append_block_param(head, types::I64);
    let zero = b.ins().iconst(types::I64, 0);
    b.ins().jump(head, &[zero.into()]);
    b.switch_to_block(head);
    let more = b.ins().icmp(IntCC::UnsignedLessThan, part, call.parts);
    b.ins().brif(more, look, &[], exit, &[]);
    b.switch_to_block(look);
    let taken = call.claim(b, part);
    b.ins().brif(taken, next, &[], run, &[]);
    b.switch_to_block(run);
    call.fail((module, b), fail, (abi::ERROR_PART_MISSING, part));
    let number = b.ins().ireduce(types::I32, part);
    call.execute(b, number);
    b.ins().jump(next, &[]);
    b.switch_to_block(next);
    let after = b.ins().iadd_imm_s(part, 1);
    b.ins().jump(head, &[after.into()]);
    b.switch_to_block(exit);
}

/// A record of a section, as a function sees it.
struct Call {
    record: Value,
    ctx: Value,
    section: Value,
    /// 64 bits.
    parts: Value,
}

impl Call {
    fn load(b: &mut FunctionBuilder<'_>, record: Value) -> Self {
        let mut field = |offset| {
            let flags = MemFlagsData::trusted();
            b.ins().load(types::I64, flags, record, offset)
        };
        Call {
            record,
            ctx: field(CALL_CONTEXT),
            section: field(CALL_SECTION),
            parts: field(CALL_PARTS),
        }
    }

    /// Not zero if the part had been claimed before.
    fn claim(&self, b: &mut FunctionBuilder<'_>, part: Value) -> Value {
        let one = b.ins().iconst(types::I64, 1);
        let inside = b.ins().band_imm_u(part, 63);
        let bit = b.ins().ishl(one, inside);
        let six = b.ins().iconst(types::I64, 6);
        let word = b.ins().ushr(part, six);
        let at = b.ins().imul_imm_s(word, 8);
        let at = b.ins().iadd(self.record, at);
        let at = b.ins().iadd_imm_s(at, i64::from(CALL_CLAIMS));
        let flags = MemFlagsData::trusted();
        let before = b
            .ins()
            .atomic_rmw(types::I64, flags, AtomicRmwOp::Or, at, bit);
        b.ins().band(before, bit)
    }

    fn execute(&self, b: &mut FunctionBuilder<'_>, part: Value) {
        let parts = b.ins().ireduce(types::I32, self.parts);
        let params = [types::I64, types::I32, types::I32];
        call_address(b, self.section, &params, &[self.ctx, part, parts]);
    }

    fn fail(
        &self,
        (module, b): (&mut ObjectModule, &mut FunctionBuilder<'_>),
        fail: FuncId,
        (code, part): (u32, Value),
    ) {
        let fail = module.declare_func_in_func(fail, b.func);
        let code = b.ins().iconst(types::I32, i64::from(code));
        let site = b.ins().iconst(types::I32, 0);
        b.ins()
            .call(fail, &[self.ctx, code, site, part, self.parts]);
    }
}

fn call_address(b: &mut FunctionBuilder<'_>, address: Value, params: &[Type], args: &[Value]) {
    let mut signature = Signature::new(b.func.signature.call_conv);
    let params = params.iter().map(|ty| AbiParam::new(*ty));
    signature.params.extend(params);
    let signature = b.import_signature(signature);
    b.ins().call_indirect(signature, address, args);
}

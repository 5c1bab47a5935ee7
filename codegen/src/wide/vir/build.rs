//! The builder: appends instructions to the current block.

use super::{
    Addr, BinaryOp, Block, BlockData, Class, Cmp, Def, Elem, FmaOp, Function, Inst, IntOp, IntTy,
    LoadForm, MaskOp, ReduceOp, ShiftOp, StoreForm, Target, Terminator, UnaryOp, Value, Width,
    ZipOp,
};
use crate::wide::WideError;
use std::collections::HashMap;

/// Builds a [`Function`] block by block.
///
/// Misuse (a wrong class, an open block) is reported by [`FunctionBuilder::finish`].
pub struct FunctionBuilder {
    pub(super) func: Function,
    pub(super) current: Block,
    /// Integer constants of the current block.
    iconsts: HashMap<i64, Value>,
    /// Vector constants of the current block, while they are shared.
    splats: Option<HashMap<(Elem, u64), Value>>,
}

/// An open counted loop; see [`FunctionBuilder::begin_loop`].
#[must_use = "close the loop with `end_loop`"]
pub struct Loop {
    body: Block,
    exit: Block,
    hi: Value,
    step: i64,
    /// The loop's counter, from `lo` in steps below `hi`.
    pub index: Value,
    /// The carried values at the start of an iteration.
    pub carried: Vec<Value>,
    results: Vec<Value>,
}

impl FunctionBuilder {
    /// An empty function whose entry block is current.
    pub fn new(name: impl Into<String>, width: Width) -> Self {
        let func = Function {
            name: name.into(),
            width,
            values: vec![(Class::Int, Def::Args)],
            blocks: vec![BlockData::default()],
        };
        Self {
            func,
            current: Block(0),
            iconsts: HashMap::new(),
            splats: None,
        }
    }

    /// The width of all vectors.
    pub fn width(&self) -> Width {
        self.func.width
    }

    /// Lanes of a vector of `elem`.
    pub fn lanes(&self, elem: Elem) -> usize {
        self.func.width.lanes(elem)
    }

    /// The class of a value.
    pub fn class(&self, v: Value) -> Class {
        self.func.class(v)
    }

    /// The pointer to the argument block.
    pub fn args(&self) -> Value {
        Value(0)
    }

    /// Word `n` of the argument block.
    pub fn arg(&mut self, n: u16) -> Value {
        self.int_load(IntTy::I64, Addr::at(Value(0), i32::from(n) * 8))
    }

    /// Ends building.
    ///
    /// Errors: [`WideError::Verify`] when the function breaks a rule of the IR.
    pub fn finish(self) -> Result<Function, WideError> {
        self.func
            .verify()
            .map_err(|message| WideError::verify(&self.func, message))?;
        Ok(self.func)
    }

    fn value(&mut self, class: Class, def: Def) -> Value {
        self.func.values.push((class, def));
        Value(self.func.values.len() as u32 - 1)
    }

    /// A new block with parameters of these classes.
    pub fn block(&mut self, params: &[Class]) -> (Block, Vec<Value>) {
        let block = Block(self.func.blocks.len() as u32);
        self.func.blocks.push(BlockData::default());
        let def = |(i, class): (usize, &Class)| self.value(*class, Def::Param(block, i as u32));
        let values: Vec<Value> = params.iter().enumerate().map(def).collect();
        self.func.blocks[block.index()].params.clone_from(&values);
        (block, values)
    }

    /// Makes `block` current. Blocks are laid out in the order of their creation.
    pub fn switch_to(&mut self, block: Block) {
        self.current = block;
        self.iconsts.clear();
        self.splats.iter_mut().for_each(HashMap::clear);
    }

    /// Ends the current block.
    pub fn terminate(&mut self, term: Terminator) {
        self.func.blocks[self.current.index()].term = Some(term);
    }

    /// Ends the current block with a jump.
    pub fn jump(&mut self, block: Block, args: &[Value]) {
        let args = args.to_vec();
        self.terminate(Terminator::Jump(Target { block, args }));
    }

    /// Ends the current block with `if a cmp b`, signed.
    pub fn branch(
        &mut self,
        (cmp, a, b): (Cmp, Value, Value),
        (then, then_args): (Block, &[Value]),
        (other, other_args): (Block, &[Value]),
    ) {
        let target = |block, args: &[Value]| Target {
            block,
            args: args.to_vec(),
        };
        let (then, other) = (target(then, then_args), target(other, other_args));
        self.terminate(Terminator::Branch {
            cmp,
            a,
            b,
            then,
            other,
        });
    }

    /// Ends the current block with a return.
    pub fn ret(&mut self) {
        self.terminate(Terminator::Return);
    }

    /// Opens `for index in (lo..hi).step_by(step)` carrying values; the body is current.
    ///
    /// The test is at the bottom; the test before the first iteration is left out when the bounds
    /// are constants that make it true. `step` is positive and `hi + step` does not overflow.
    pub fn begin_loop(&mut self, lo: Value, hi: Value, step: i64, init: &[Value]) -> Loop {
        let classes: Vec<Class> = init.iter().map(|v| self.class(*v)).collect();
        let body_classes: Vec<Class> = [Class::Int].iter().chain(&classes).copied().collect();
        let (body, mut params) = self.block(&body_classes);
        let (exit, results) = self.block(&classes);
        let first: Vec<Value> = [lo].iter().chain(init).copied().collect();
        let constant = |v| match self.func.def_inst(v) {
            Some(Inst::IConst(c)) => Some(*c),
            _ => None,
        };
        match (constant(lo), constant(hi)) {
            (Some(l), Some(h)) if l < h => self.jump(body, &first),
            _ => self.branch((Cmp::Lt, lo, hi), (body, &first), (exit, init)),
        }
        self.switch_to(body);
        let index = params.remove(0);
        Loop {
            body,
            exit,
            hi,
            step,
            index,
            carried: params,
            results,
        }
    }

    /// Closes a loop: `next` are the carried values after an iteration. The block after the loop
    /// is current; the carried values at the end are returned.
    pub fn end_loop(&mut self, open: Loop, next: &[Value]) -> Vec<Value> {
        let step = self.iconst(open.step);
        let index = self.int(IntOp::Add, open.index, step);
        let again: Vec<Value> = [index].iter().chain(next).copied().collect();
        self.branch(
            (Cmp::Lt, index, open.hi),
            (open.body, &again),
            (open.exit, next),
        );
        self.switch_to(open.exit);
        open.results
    }

    /// Appends any instruction; the result, if it has one.
    pub fn push(&mut self, inst: Inst) -> Option<Value> {
        let at = self.func.blocks[self.current.index()].insts.len() as u32;
        let def = Def::Inst(self.current, at);
        let result = inst.result().map(|class| self.value(class, def));
        let block = &mut self.func.blocks[self.current.index()];
        block.insts.push((result, inst));
        result
    }

    fn def(&mut self, inst: Inst) -> Value {
        self.push(inst)
            .expect("invariant: this instruction has a result")
    }

    /// An integer constant.
    pub fn iconst(&mut self, c: i64) -> Value {
        if let Some(v) = self.iconsts.get(&c) {
            return *v;
        }
        let v = self.def(Inst::IConst(c));
        self.iconsts.insert(c, v);
        v
    }

    /// Integer arithmetic.
    pub fn int(&mut self, op: IntOp, a: Value, b: Value) -> Value {
        self.def(Inst::Int { op, a, b })
    }

    /// `a + c`.
    pub fn int_add_const(&mut self, a: Value, c: i64) -> Value {
        let c = self.iconst(c);
        self.int(IntOp::Add, a, c)
    }

    /// Integer shift by a constant.
    pub fn int_shift(&mut self, op: ShiftOp, a: Value, amount: u8) -> Value {
        self.def(Inst::IntShift { op, a, amount })
    }

    /// The value of an address.
    pub fn lea(&mut self, addr: Addr) -> Value {
        self.def(Inst::Lea(addr))
    }

    /// Integer load.
    pub fn int_load(&mut self, ty: IntTy, addr: Addr) -> Value {
        self.def(Inst::IntLoad { ty, addr })
    }

    /// Integer store.
    pub fn int_store(&mut self, ty: IntTy, addr: Addr, value: Value) {
        self.push(Inst::IntStore { ty, addr, value });
    }

    /// A hint that `addr` is read soon.
    pub fn prefetch(&mut self, addr: Addr) {
        self.push(Inst::Prefetch(addr));
    }

    /// The low 32 bits of an integer in every lane.
    pub fn splat_int(&mut self, a: Value) -> Value {
        self.def(Inst::SplatInt(a))
    }

    /// An F32 constant in every lane.
    pub fn splat_f32(&mut self, x: f32) -> Value {
        self.splat(Elem::F32, u64::from(x.to_bits()))
    }

    /// An I32 constant in every lane.
    pub fn splat_i32(&mut self, x: i32) -> Value {
        self.splat(Elem::I32, u64::from(x as u32))
    }

    /// From now on, equal vector constants of a block are one value, or not. One that is used
    /// often is kept in a register where there are many.
    pub fn share_splats(&mut self, share: bool) {
        self.splats = share.then(HashMap::new);
    }

    fn splat(&mut self, elem: Elem, bits: u64) -> Value {
        let known = self.splats.as_ref().and_then(|s| s.get(&(elem, bits)));
        if let Some(v) = known {
            return *v;
        }
        let v = self.def(Inst::Splat { elem, bits });
        if let Some(splats) = &mut self.splats {
            splats.insert((elem, bits), v);
        }
        v
    }

    /// The bits in every lane of a constant.
    pub fn splatted(&self, v: Value) -> Option<u64> {
        match self.func.def_inst(v) {
            Some(Inst::Splat { bits, .. }) => Some(*bits),
            _ => None,
        }
    }

    /// Zero in every lane.
    pub fn zero(&mut self) -> Value {
        self.splat_i32(0)
    }

    /// I32 constants, one a lane: `lane(i)`.
    pub fn lanes_i32(&mut self, lane: impl Fn(usize) -> i32) -> Value {
        let bits = (0..self.lanes(Elem::I32)).map(|i| u64::from(lane(i) as u32));
        let (elem, bits) = (Elem::I32, bits.collect());
        self.def(Inst::Lanes { elem, bits })
    }

    /// Full vector load.
    pub fn load(&mut self, elem: Elem, addr: Addr) -> Value {
        let form = LoadForm::Full;
        self.def(Inst::Load { elem, form, addr })
    }

    /// Vector load in any form.
    pub fn load_form(&mut self, elem: Elem, form: LoadForm, addr: Addr) -> Value {
        self.def(Inst::Load { elem, form, addr })
    }

    /// One element into every lane.
    pub fn broadcast(&mut self, elem: Elem, addr: Addr) -> Value {
        let form = LoadForm::Broadcast;
        self.def(Inst::Load { elem, form, addr })
    }

    /// Full vector store.
    pub fn store(&mut self, elem: Elem, addr: Addr, value: Value) {
        self.store_form(elem, StoreForm::Full, addr, value);
    }

    /// Vector store in any form.
    pub fn store_form(&mut self, elem: Elem, form: StoreForm, addr: Addr, value: Value) {
        self.push(Inst::Store {
            elem,
            form,
            addr,
            value,
        });
    }

    /// Consecutive integers of 8 or 16 bits, extended to I32.
    pub fn load_short(&mut self, ty: IntTy, mask: Option<Value>, addr: Addr) -> Value {
        self.def(Inst::LoadShort { ty, mask, addr })
    }

    /// The low bits of I32 lanes to consecutive integers of 8 or 16 bits.
    pub fn store_short(&mut self, ty: IntTy, mask: Option<Value>, addr: Addr, value: Value) {
        self.push(Inst::StoreShort {
            ty,
            mask,
            addr,
            value,
        });
    }

    /// Lane-wise operation of one operand.
    pub fn unary(&mut self, op: UnaryOp, elem: Elem, a: Value) -> Value {
        self.def(Inst::Unary { op, elem, a })
    }

    /// Lane-wise operation of two operands.
    pub fn binary(&mut self, op: BinaryOp, elem: Elem, a: Value, b: Value) -> Value {
        self.def(Inst::Binary { op, elem, a, b })
    }

    /// Lane-wise I32 shift by a constant.
    pub fn shift(&mut self, op: ShiftOp, a: Value, amount: u8) -> Value {
        self.def(Inst::Shift { op, a, amount })
    }

    /// Fused multiply-add.
    pub fn fma(&mut self, op: FmaOp, elem: Elem, a: Value, b: Value, c: Value) -> Value {
        self.def(Inst::Fma { op, elem, a, b, c })
    }

    /// Products of bytes, added up in lanes.
    pub fn dot(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.def(Inst::Dot { a, b, c })
    }

    /// Lane-wise comparison.
    pub fn cmp(&mut self, cmp: Cmp, elem: Elem, a: Value, b: Value) -> Value {
        self.def(Inst::Cmp { cmp, elem, a, b })
    }

    /// Mask arithmetic.
    pub fn mask(&mut self, op: MaskOp, a: Value, b: Value) -> Value {
        self.def(Inst::Mask { op, a, b })
    }

    /// The lanes outside a mask.
    pub fn mask_not(&mut self, a: Value) -> Value {
        self.def(Inst::MaskNot(a))
    }

    /// One bit a lane of a mask.
    pub fn mask_bits(&mut self, a: Value) -> Value {
        self.def(Inst::MaskBits(a))
    }

    /// `a` where the mask holds, `b` elsewhere.
    pub fn select(&mut self, elem: Elem, mask: Value, a: Value, b: Value) -> Value {
        self.def(Inst::Select { elem, mask, a, b })
    }

    /// Lane `lanes[i]` of a vector as lane `i`.
    pub fn permute(&mut self, elem: Elem, a: Value, lanes: Vec<u8>) -> Value {
        self.def(Inst::Permute { elem, a, lanes })
    }

    /// Lane `lanes[i]` of two vectors one after the other as lane `i`.
    pub fn pick(&mut self, elem: Elem, [a, b]: [Value; 2], lanes: Vec<u8>) -> Value {
        self.def(Inst::Pick { elem, a, b, lanes })
    }

    /// Elements of two vectors side by side.
    pub fn zip(&mut self, op: ZipOp, a: Value, b: Value) -> Value {
        self.def(Inst::Zip { op, a, b })
    }

    /// The lanes below `count`.
    pub fn tail_mask(&mut self, elem: Elem, count: Value) -> Value {
        self.def(Inst::TailMask { elem, count })
    }

    /// Horizontal reduction into every lane.
    pub fn reduce(&mut self, op: ReduceOp, elem: Elem, a: Value) -> Value {
        self.def(Inst::Reduce { op, elem, a })
    }
}

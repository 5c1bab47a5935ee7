//! The plan to its entry, a Cranelift function `(ctx, thread, threads)`, and to sections where one
//! thread runs the entry.
pub(crate) mod frame;
mod sections;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, FuncRef, Function, InstBuilder, MemFlagsData, Signature, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::FunctionBuilderContext;
use frame::{Frame, KernelRefs};
use std::collections::BTreeMap;
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{Kernel, Mark, Stmt};
use tensmith_ir::plan::{Plan, SlotId, Step};
use tensmith_runtime::{abi, profile};

pub(crate) use sections::emit_section;
pub use sections::{Section, sections};

/// The signature of entries.
pub fn signature(call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature
        .params
        .extend([types::I64, types::I32, types::I32].map(AbiParam::new));
    signature
}

/// Where each constant lies in the block of constants, and the size of the block, in bytes.
pub fn constant_offsets(plan: &Plan) -> (Vec<usize>, usize) {
    let mut at = 0;
    let mut offsets = Vec::with_capacity(plan.constants.len());
    for constant in &plan.constants {
        offsets.push(at);
        at += constant.bytes.next_multiple_of(64);
    }
    (offsets, at)
}

/// The extent of a kernel's outermost loop, if that is parallel and all there is.
pub fn parallel_extent(kernel: &Kernel) -> Option<&Expr> {
    match &kernel.body[..] {
        [Stmt::For(l)] if l.mark == Mark::Parallel => Some(&l.extent),
        _ => None,
    }
}

/// Whether an entry keeps time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// It does not.
    #[default]
    None,
    /// It notes the begin of every step with its number, and its own end: see
    /// [`abi::Helpers::mark`] and [`numbered_steps`].
    Steps,
}

/// Who runs the entry of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// Every thread, at the same time: calls are dealt by thread number, with barriers between
    /// those that need an order.
    #[default]
    Spmd,
    /// One thread, which hands the parts of each barrier-free section to an executor: see
    /// [`abi::Helpers::parallel`]. The executor need not run parts at the same time.
    Sections,
}

/// What the code of a plan is like besides its target. Results do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Who runs the entry.
    pub execution: Execution,
    /// Whether it keeps time.
    pub marks: Marks,
}

/// The steps of a plan, those inside branches and loops included, each after the step that holds
/// it: its place in this list is its number in marks.
pub fn numbered_steps(plan: &Plan) -> Vec<&Step> {
    fn collect<'a>(steps: &'a [Step], found: &mut Vec<&'a Step>) {
        for step in steps {
            found.push(step);
            match step {
                Step::Call(_) | Step::Barrier => {}
                Step::If {
                    then, otherwise, ..
                } => {
                    collect(then, found);
                    collect(otherwise, found);
                }
                Step::Loop { body, .. } => collect(body, found),
            }
        }
    }
    let mut found = Vec::new();
    collect(&plan.steps, &mut found);
    found
}

/// The sections that an entry hands out, as it knows them, by [`Section::number`].
pub(crate) type SectionRefs = BTreeMap<u32, FuncRef>;

struct EntryEmitter<'a, 'f> {
    frame: Frame<'a, 'f>,
    execution: Execution,
    sections: &'a SectionRefs,
    /// The number of the next step, as [`numbered_steps`] counts.
    number: u32,
}

/// Fills `function` with the entry's code; it hands out `sections`, and calls `kernels` itself for
/// all other calls.
pub(crate) fn emit(
    plan: &Plan,
    (isa, form): (&dyn TargetIsa, Form),
    (kernels, sections): (&KernelRefs, &SectionRefs),
    function: &mut Function,
    context: &mut FunctionBuilderContext,
) {
    let mut emitter = EntryEmitter {
        frame: Frame::new((plan, form), kernels, function, context),
        execution: form.execution,
        sections,
        number: 0,
    };
    emitter.steps(&plan.steps);
    emitter.frame.mark(profile::END);
    emitter.frame.finish(isa);
}

impl EntryEmitter<'_, '_> {
    fn steps(&mut self, steps: &[Step]) {
        for group in sections::groups(steps) {
            match self.sections.get(&self.number) {
                Some(section) => self.hand_out(*section, group),
                None => group.iter().for_each(|step| self.step(step)),
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let number = self.number;
        self.number += 1;
        self.frame.mark(number);
        match step {
            Step::Call(call) => self.frame.call(call),
            Step::Barrier => self.barrier(),
            Step::If {
                cond,
                then,
                otherwise,
            } => self.branch(*cond, then, otherwise),
            Step::Loop {
                trip,
                cond,
                counter,
                body,
            } => self.repeat((*trip, *cond, *counter), body, number),
        }
    }

    /// Hands out the parts of a section, at most as many as there are threads; calls it directly
    /// if one part is enough.
    fn hand_out(&mut self, section: FuncRef, steps: &[Step]) {
        self.number += steps.len() as u32;
        let useful = sections::useful_parts(self.frame.plan, steps);
        let useful = self.frame.expr(&useful);
        let b = &mut self.frame.b;
        let parts = b.ins().umin(useful, self.frame.threads);
        let several = b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, parts, 1);
        let (many, one, after) = (b.create_block(), b.create_block(), b.create_block());
        b.ins().brif(several, many, &[], one, &[]);
        b.seal_block(many);
        b.seal_block(one);
        b.switch_to_block(one);
        let (first, count) = (b.ins().iconst(types::I32, 0), b.ins().iconst(types::I32, 1));
        b.ins().call(section, &[self.frame.ctx, first, count]);
        b.ins().jump(after, &[]);
        b.switch_to_block(many);
        let address = b.ins().func_addr(types::I64, section);
        let parts = b.ins().ireduce(types::I32, parts);
        self.frame
            .call_helper(abi::OFFSET_HELPER_PARALLEL, [address, parts]);
        let b = &mut self.frame.b;
        b.ins().jump(after, &[]);
        b.seal_block(after);
        b.switch_to_block(after);
    }

    /// All threads wait for each other; nothing where one thread runs the entry.
    fn barrier(&mut self) {
        if self.execution == Execution::Sections {
            return;
        }
        let threads = self.frame.threads;
        let b = &mut self.frame.b;
        let several = b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, threads, 1);
        self.frame.when(several, |frame| {
            let threads = frame.b.ins().ireduce(types::I32, frame.threads);
            frame.call_thread_helper(abi::OFFSET_HELPER_BARRIER, threads);
        });
    }

    fn branch(&mut self, cond: SlotId, then: &[Step], otherwise: &[Step]) {
        let flag = self.frame.load_slot(cond, types::I8);
        let b = &mut self.frame.b;
        let (yes, no, join) = (b.create_block(), b.create_block(), b.create_block());
        b.ins().brif(flag, yes, &[], no, &[]);
        for (block, steps) in [(yes, then), (no, otherwise)] {
            self.frame.b.seal_block(block);
            self.frame.b.switch_to_block(block);
            self.frame.open_scope();
            self.steps(steps);
            self.frame.close_scope();
            self.frame.b.ins().jump(join, &[]);
        }
        self.frame.b.seal_block(join);
        self.frame.b.switch_to_block(join);
    }

    fn repeat(
        &mut self,
        (trip, cond, counter): (SlotId, SlotId, SlotId),
        body: &[Step],
        number: u32,
    ) {
        let zero = self.frame.b.ins().iconst(types::I64, 0);
        self.set_counter(counter, zero);
        self.barrier();
        let b = &mut self.frame.b;
        let (head, inside, exit) = (b.create_block(), b.create_block(), b.create_block());
        b.ins().jump(head, &[]);
        b.switch_to_block(head);
        self.frame.open_scope();
        let at = self.frame.load_slot(counter, types::I64);
        let trip = self.frame.load_slot(trip, types::I64);
        let go = self.frame.load_slot(cond, types::I8);
        let b = &mut self.frame.b;
        let below = b.ins().icmp(IntCC::SignedLessThan, at, trip);
        let go = b.ins().band(below, go);
        b.ins().brif(go, inside, &[], exit, &[]);
        b.seal_block(inside);
        b.switch_to_block(inside);
        self.steps(body);
        self.frame.mark(number);
        self.barrier();
        let next = self.frame.b.ins().iadd_imm_s(at, 1);
        self.set_counter(counter, next);
        self.barrier();
        self.frame.close_scope();
        let b = &mut self.frame.b;
        b.ins().jump(head, &[]);
        b.seal_block(head);
        b.seal_block(exit);
        b.switch_to_block(exit);
    }

    /// Thread 0 writes the counter.
    fn set_counter(&mut self, counter: SlotId, value: Value) {
        let thread = self.frame.thread;
        let b = &mut self.frame.b;
        let first = b.ins().icmp_imm_u(IntCC::Equal, thread, 0);
        self.frame.when(first, |frame| {
            let address = frame.address(counter);
            let flags = MemFlagsData::trusted();
            frame.b.ins().store(flags, value, address, 0);
        });
    }
}

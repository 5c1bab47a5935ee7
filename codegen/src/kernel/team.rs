//! Kernels that a team of threads runs: see [`tensmith_ir::loops::team`].
//!
//! `begin` and `end` of such a function are the number of its thread and that of all threads.
use super::Emitter;
use crate::error::CodegenError;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value, types};
use tensmith_ir::loops::team::{Part, Touched, part};
use tensmith_ir::loops::{Cond, For, Stmt};
use tensmith_runtime::abi;

/// A thread of a team.
#[derive(Clone, Copy)]
pub(super) struct Team {
    thread: Value,
    threads: Value,
}

impl Emitter<'_, '_> {
    /// A whole kernel. Threads meet before it, as the scratch memory that they share is the first
    /// one's, and behind it.
    pub(super) fn team_kernel(&mut self) -> Result<(), CodegenError> {
        let team = Team {
            thread: self.entry.begin,
            threads: self.entry.end,
        };
        self.meet(team);
        self.team_list(team, &self.kernel.body)
    }

    /// Statements, behind which threads meet.
    fn team_list(&mut self, team: Team, stmts: &[Stmt]) -> Result<(), CodegenError> {
        let mut open = Touched::default();
        for stmt in stmts {
            let touched = Touched::of(self.kernel, stmt);
            let part = part(self.kernel, stmt);
            if open.conflicts(&touched) || part == Part::Around && !open.is_empty() {
                self.meet(team);
                open = Touched::default();
            }
            match part {
                Part::All => self.statement(stmt)?,
                Part::First => {
                    let first = self.b.ins().icmp_imm_u(IntCC::Equal, team.thread, 0);
                    self.if_else(first, std::slice::from_ref(stmt), &[])?;
                }
                Part::Share => self.share(team, stmt)?,
                Part::Around => self.around(team, stmt)?,
            }
            // Threads have met behind what is around a parallel loop.
            if part != Part::Around {
                open.add(touched);
            }
        }
        if !open.is_empty() {
            self.meet(team);
        }
        Ok(())
    }

    /// A thread's iterations of a parallel loop.
    fn share(&mut self, team: Team, stmt: &Stmt) -> Result<(), CodegenError> {
        let Stmt::For(l) = stmt else { return Ok(()) };
        let extent = self.expr(&l.extent);
        let first = self.b.ins().imul(extent, team.thread);
        let last = self.b.ins().iadd(first, extent);
        self.entry.begin = self.b.ins().udiv(first, team.threads);
        self.entry.end = self.b.ins().udiv(last, team.threads);
        let any = (self.b.ins()).icmp(IntCC::SignedLessThan, self.entry.begin, self.entry.end);
        self.if_else(any, std::slice::from_ref(stmt), &[])
    }

    /// What is around parallel loops, which every thread runs.
    fn around(&mut self, team: Team, stmt: &Stmt) -> Result<(), CodegenError> {
        match stmt {
            Stmt::For(l) => self.team_loop(team, l),
            Stmt::If {
                cond,
                then,
                otherwise,
            } => {
                let flag = match cond {
                    Cond::Affine(es) => self.all_non_negative(es),
                    Cond::Scalar(s) => self.flag(s)?,
                };
                self.either(flag, &mut |cx, yes| {
                    cx.team_list(team, if yes { then } else { otherwise })
                })
            }
            _ => Err(CodegenError::Internal {
                kernel: self.kernel.name.clone(),
                reason: "a parallel loop in a statement that is none around it".into(),
            }),
        }
    }

    fn team_loop(&mut self, team: Team, l: &For) -> Result<(), CodegenError> {
        self.ranges.bind(l.var, &l.extent);
        let begin = self.b.ins().iconst(types::I64, 0);
        let end = self.expr(&l.extent);
        self.counted(l, (begin, end), false, &mut |cx| {
            cx.team_list(team, &l.body)
        })
    }

    /// All threads of a team wait for each other.
    fn meet(&mut self, team: Team) {
        let several = (self.b.ins()).icmp_imm_u(IntCC::UnsignedGreaterThan, team.threads, 1);
        let (run, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(several, run, &[], after, &[]);
        self.b.seal_block(run);
        self.b.switch_to_block(run);
        let mut signature = Signature::new(self.b.func.signature.call_conv);
        let params = [types::I64, types::I32, types::I32];
        signature.params.extend(params.map(AbiParam::new));
        let signature = self.b.import_signature(signature);
        let flags = MemFlagsData::trusted();
        let ctx = self.entry.ctx;
        let helpers = (self.b.ins()).load(types::I64, flags, ctx, abi::OFFSET_HELPERS);
        let at = abi::OFFSET_HELPER_BARRIER;
        let barrier = self.b.ins().load(types::I64, flags, helpers, at);
        let thread = self.b.ins().ireduce(types::I32, team.thread);
        let threads = self.b.ins().ireduce(types::I32, team.threads);
        self.b
            .ins()
            .call_indirect(signature, barrier, &[ctx, thread, threads]);
        self.b.ins().jump(after, &[]);
        self.b.seal_block(after);
        self.b.switch_to_block(after);
    }
}

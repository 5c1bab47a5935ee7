//! Schedules: how the loops of a kernel are run.
use tensmith_ir::loops::{Kernel, Mark, Role, Stmt};

/// What schedules need to know of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Units: bytes of a vector register.
    pub vector_bytes: usize,
    /// Whether multiply and add can be one instruction.
    pub fma: bool,
    /// The number of threads that a run is planned for.
    pub threads: usize,
}

impl Default for Target {
    fn default() -> Self {
        Target {
            vector_bytes: 16,
            fma: false,
            threads: 1,
        }
    }
}

/// The kernel with its outermost space loops parallel.
pub fn default_schedule(mut kernel: Kernel, _target: &Target) -> Kernel {
    let is_space = |s: &Stmt| matches!(s, Stmt::For(l) if l.role == Role::Space);
    if kernel.body.iter().all(is_space) {
        for stmt in &mut kernel.body {
            if let Stmt::For(l) = stmt {
                l.mark = Mark::Parallel;
            }
        }
    }
    kernel
}

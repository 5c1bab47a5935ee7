//! Tests: compiled tiles run in memory and are compared with the interpreter or plain Rust.

mod again;
mod exec;
mod forward;
mod interleave;
mod interp;
mod kernels;
mod late;
mod matmul;
mod ops;
mod random;
mod rejects;
mod steps;

use super::vir::Width;
use super::{WideTarget, compile};
use exec::Executable;

/// Runs `body` at every width that this machine has, and says which it left out.
fn at_widths(body: impl Fn(Width, &WideTarget)) {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    if avx2 {
        body(Width::Y256, &WideTarget::avx2());
    } else {
        println!("skipped at 256 bits: no AVX2 and FMA on this machine");
    }
    if avx512 {
        body(Width::Z512, &WideTarget::avx512());
    } else {
        println!("skipped at 512 bits: no AVX-512 on this machine");
    }
}

/// Compiles and maps a function.
fn load(f: &super::vir::Function, target: &WideTarget) -> Executable {
    let code = compile(f, target).unwrap_or_else(|e| panic!("{e}\n{f}"));
    Executable::new(&code)
}

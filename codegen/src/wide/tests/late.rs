//! Computing what is stored where it is stored.
use super::{at_widths, interp, load};
use crate::wide::vir::*;

/// Scales what is below zero of as many vectors as almost fill the registers: comparisons of all
/// of them, then products, then choices that are stored, as statements in lock step are.
fn leaky(width: Width) -> (FunctionBuilder, usize) {
    let count = match width {
        Width::Y256 => 13,
        Width::Z512 => 29,
    };
    let mut f = FunctionBuilder::new("leaky", width);
    let (input, out) = (f.arg(0), f.arg(1));
    let e = Elem::F32;
    let place = |k: usize| (k * width.bytes()) as i32;
    let loaded = |k| Addr::at(input, place(k));
    let x: Vec<Value> = (0..count).map(|k| f.load(e, loaded(k))).collect();
    let (zero, slope) = (f.zero(), f.splat_f32(0.1));
    let below: Vec<Value> = x.iter().map(|x| f.cmp(Cmp::Lt, e, *x, zero)).collect();
    let scaled = x.iter().map(|x| f.binary(BinaryOp::Mul, e, *x, slope));
    let scaled: Vec<Value> = scaled.collect();
    for k in 0..count {
        let y = f.select(e, below[k], scaled[k], x[k]);
        f.store(e, Addr::at(out, place(k)), y);
    }
    (f, count)
}

#[test]
fn statements_in_lock_step_need_few_registers() {
    at_widths(|width, target| {
        let (mut before, count) = leaky(width);
        before.ret();
        let before = before.finish().unwrap();
        let (mut after, _) = leaky(width);
        after.ret();
        after.compute_late();
        let after = after.finish().unwrap();
        assert_ne!(before, after);
        let lanes = width.lanes(Elem::F32);
        let x: Vec<f32> = (0..count * lanes).map(|k| k as f32 - 40.0).collect();
        let run = |call: &dyn Fn(&[u64])| {
            let mut out = vec![7f32; x.len()];
            call(&[x.as_ptr() as u64, out.as_mut_ptr() as u64]);
            out
        };
        let wanted = run(&|args| interp::run(&before, args));
        assert_eq!(wanted, run(&|args| interp::run(&after, args)), "{width:?}");
        let [crowded, fitting] = [&before, &after].map(|f| load(f, target));
        assert_eq!(wanted, run(&|args| fitting.call(args)), "{width:?}");
        assert!(crowded.code.stats.spills > 0, "{width:?}");
        assert_eq!(fitting.code.stats.spills, 0, "{}", fitting.text());
    });
}

#[test]
fn loads_keep_their_places_among_stores() {
    at_widths(|width, _| {
        let build = || {
            let (mut f, count) = leaky(width);
            let (out, alias) = (f.arg(1), f.arg(1));
            for k in 0..count {
                let at = (k * width.bytes()) as i32;
                let x = f.load(Elem::F32, Addr::at(alias, at));
                let twice = f.binary(BinaryOp::Add, Elem::F32, x, x);
                f.store(Elem::F32, Addr::at(out, at), twice);
            }
            f.ret();
            f
        };
        let before = build().finish().unwrap();
        let mut after = build();
        after.compute_late();
        let after = after.finish().unwrap();
        let accesses = |f: &Function| -> Vec<Inst> {
            let insts = f.blocks()[0].insts.iter().map(|(_, inst)| inst);
            let kept = insts.filter(|i| matches!(i, Inst::Load { .. } | Inst::Store { .. }));
            kept.cloned().collect()
        };
        assert_eq!(accesses(&before), accesses(&after), "{width:?}");
    });
}

/// What takes many instructions is computed for two vectors at least in turns: each waits for the one
/// before it.
#[test]
fn long_chains_are_never_computed_alone() {
    at_widths(|width, _| {
        let e = Elem::F32;
        let mut f = FunctionBuilder::new("chains", width);
        let (input, out) = (f.arg(0), f.arg(1));
        let count = 64;
        let place = |k: usize| (k * width.bytes()) as i32;
        // These are live to the end, so that the fewest in turns need the fewest registers.
        let held: Vec<Value> = (0..32)
            .map(|k| f.load(e, Addr::at(input, place(k))))
            .collect();
        let mut chains: Vec<Value> = (0..count).map(|k| f.splat_f32(k as f32)).collect();
        for _ in 0..16 {
            let next = chains.iter().map(|x| f.binary(BinaryOp::Add, e, *x, *x));
            chains = next.collect();
        }
        for (k, x) in chains.into_iter().chain(held).enumerate() {
            f.store(e, Addr::at(out, place(k)), x);
        }
        f.ret();
        f.compute_late();
        let f = f.finish().unwrap();
        let stores = f.blocks()[0].insts.iter();
        let stores: Vec<bool> = stores
            .map(|(_, i)| matches!(i, Inst::Store { .. }))
            .collect();
        let first = stores.iter().position(|s| *s).expect("stores");
        assert!(stores.len() - first > count + 32, "{width:?}");
        assert!(stores[first + 1], "{width:?}");
    });
}

//! Runs that are computed in turns, and constants that they share.
use super::{at_widths, load};
use crate::wide::vir::*;

/// `out[k] = (in[k] * 2 + 1) * 2 + 1` for each of `vectors`; `store` says whether each is stored at
/// the end of its run, or all are behind the last one.
fn chains(width: Width, vectors: usize, store: bool) -> Function {
    let mut f = FunctionBuilder::new("chains", width);
    let (input, out) = (f.arg(0), f.arg(1));
    let at = |base, k: usize| Addr::at(base, (k * width.bytes()) as i32);
    let mut places = vec![f.place()];
    let mut results = Vec::new();
    f.share_splats(true);
    for k in 0..vectors {
        let mut x = f.load(Elem::F32, at(input, k));
        for _ in 0..2 {
            let (two, one) = (f.splat_f32(2.0), f.splat_f32(1.0));
            x = f.fma(FmaOp::MulAdd, Elem::F32, x, two, one);
        }
        match store {
            true => f.store(Elem::F32, at(out, k), x),
            false => results.push(x),
        }
        places.push(f.place());
    }
    f.share_splats(false);
    f.interleave(&places);
    for (k, x) in results.into_iter().enumerate() {
        f.store(Elem::F32, at(out, k), x);
    }
    f.ret();
    f.finish().unwrap()
}

/// The instructions of a function by a letter each: loads, multiply-adds and stores.
fn letters(f: &Function) -> String {
    let letter = |inst: &Inst| match inst {
        Inst::Load { .. } => "l",
        Inst::Fma { .. } => "f",
        Inst::Store { .. } => "s",
        _ => "",
    };
    let insts = f.blocks().iter().flat_map(|b| &b.insts);
    insts.map(|(_, inst)| letter(inst)).collect()
}

#[test]
fn runs_take_turns() {
    assert_eq!(letters(&chains(Width::Z512, 3, false)), "lllffffffsss");
    assert_eq!(letters(&chains(Width::Z512, 2, true)), "llffffss");
}

#[test]
fn shared_constants_are_one_value() {
    let f = chains(Width::Z512, 4, false);
    let insts = f.blocks().iter().flat_map(|b| &b.insts);
    let splats = insts.filter(|(_, inst)| matches!(inst, Inst::Splat { .. }));
    assert_eq!(splats.count(), 2);
}

#[test]
fn runs_in_turns_give_what_they_gave() {
    at_widths(|width, target| {
        for (vectors, store) in [(1, true), (3, false), (4, true), (4, false)] {
            let exe = load(&chains(width, vectors, store), target);
            let n = vectors * width.lanes(Elem::F32);
            let input: Vec<f32> = (0..n).map(|k| k as f32).collect();
            let mut out = vec![0f32; n];
            exe.call(&[input.as_ptr() as u64, out.as_mut_ptr() as u64]);
            let want: Vec<f32> = input.iter().map(|x| 4.0 * x + 3.0).collect();
            assert_eq!(out, want, "{width:?}, {vectors} vectors");
        }
    });
}

#[test]
fn runs_that_write_before_their_ends_stay() {
    let mut f = FunctionBuilder::new("writes", Width::Y256);
    let out = f.arg(0);
    let mut places = vec![f.place()];
    for k in 0..2 {
        let x = f.load(Elem::F32, Addr::new(out));
        f.store(Elem::F32, Addr::at(out, 64), x);
        let y = f.load(Elem::F32, Addr::at(out, 64));
        f.store(Elem::F32, Addr::at(out, 128 + 32 * k), y);
        places.push(f.place());
    }
    f.interleave(&places);
    f.ret();
    assert_eq!(letters(&f.finish().unwrap()), "lslslsls");
}

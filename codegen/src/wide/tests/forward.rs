//! Loads of what was stored before, and stores that are written over.
use super::{at_widths, interp, load};
use crate::wide::vir::*;

/// The loads and stores of vectors, a letter each.
fn accesses(f: &Function) -> String {
    let letter = |inst: &Inst| match inst {
        Inst::Load { .. } => "l",
        Inst::Store { .. } => "s",
        _ => "",
    };
    let insts = f.blocks().iter().flat_map(|b| &b.insts);
    insts.map(|(_, inst)| letter(inst)).collect()
}

/// Holds a function to itself without the pass; `want` is what is left of its accesses. The body
/// gets the input, the result, and the result's address once more, which the pass must not take
/// for the same or for another.
fn check(want: &str, body: impl Fn(&mut FunctionBuilder, [Value; 3], Value)) {
    at_widths(|width, target| {
        let build = || {
            let mut f = FunctionBuilder::new("forward", width);
            let (input, out, alias, n) = (f.arg(0), f.arg(1), f.arg(2), f.arg(3));
            let mask = f.tail_mask(Elem::F32, n);
            body(&mut f, [input, out, alias], mask);
            f.ret();
            f
        };
        let before = build().finish().unwrap();
        let mut after = build();
        after.forward_stores();
        let after = after.finish().unwrap();
        assert_eq!(accesses(&after), want, "{width:?}\n{after}");
        let input: Vec<f32> = (0..64).map(|k| k as f32 - 20.0).collect();
        let run = |call: &dyn Fn(&[u64])| {
            let mut out = vec![7f32; 64];
            let p = out.as_mut_ptr() as u64;
            call(&[input.as_ptr() as u64, p, p, 5]);
            out
        };
        let wanted = run(&|args| interp::run(&before, args));
        assert_eq!(wanted, run(&|args| interp::run(&after, args)), "{width:?}");
        let exe = load(&after, target);
        assert_eq!(wanted, run(&|args| exe.call(args)), "{width:?}");
    });
}

fn doubled(f: &mut FunctionBuilder, x: Value) -> Value {
    f.binary(BinaryOp::Add, Elem::F32, x, x)
}

#[test]
fn what_was_stored_is_not_loaded() {
    check("ls", |f, [input, out, _], _| {
        let x = f.load(Elem::F32, Addr::new(input));
        f.store(Elem::F32, Addr::new(out), x);
        let again = f.load(Elem::F32, Addr::new(out));
        let twice = doubled(f, again);
        f.store(Elem::F32, Addr::new(out), twice);
    });
}

#[test]
fn lanes_of_masked_stores_are_known_and_the_others_zero() {
    check("lss", |f, [input, out, _], mask| {
        let x = f.load(Elem::F32, Addr::new(input));
        f.store_form(Elem::F32, StoreForm::Masked(mask), Addr::new(out), x);
        let again = f.load_form(Elem::F32, LoadForm::Masked(mask), Addr::new(out));
        f.store(Elem::F32, Addr::at(out, 128), again);
    });
    // Not the same lanes.
    check("lsls", |f, [input, out, _], mask| {
        let x = f.load(Elem::F32, Addr::new(input));
        f.store_form(Elem::F32, StoreForm::Masked(mask), Addr::new(out), x);
        let again = f.load(Elem::F32, Addr::new(out));
        f.store(Elem::F32, Addr::at(out, 128), again);
    });
}

#[test]
fn stores_by_other_pointers_come_between() {
    check("lslsls", |f, [input, out, alias], _| {
        let x = f.load(Elem::F32, Addr::new(input));
        f.store(Elem::F32, Addr::new(out), x);
        let y = f.load(Elem::F32, Addr::at(input, 4));
        f.store(Elem::F32, Addr::at(alias, 4), y);
        let again = f.load(Elem::F32, Addr::new(out));
        let twice = doubled(f, again);
        f.store(Elem::F32, Addr::new(out), twice);
    });
}

#[test]
fn stores_that_are_read_stay() {
    check("lsls", |f, [input, out, alias], _| {
        let x = f.load(Elem::F32, Addr::new(input));
        f.store(Elem::F32, Addr::new(out), x);
        let near = f.broadcast(Elem::F32, Addr::at(alias, 8));
        f.store(Elem::F32, Addr::new(out), near);
    });
}

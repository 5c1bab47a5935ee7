//! Masks that are computed again behind loops.
use super::{at_widths, interp, load};
use crate::wide::vir::*;

/// As many sums of products as leave a register each for a column and an element, to which elements
/// are added under a mask of constant lanes behind each of some loops over the terms.
/// Arguments: elements, columns, result, terms, tiles.
fn sums(width: Width) -> (FunctionBuilder, usize) {
    let count = match width {
        Width::Y256 => 14,
        Width::Z512 => 30,
    };
    let e = Elem::F32;
    let mut f = FunctionBuilder::new("sums", width);
    let (rows, columns, out) = (f.arg(0), f.arg(1), f.arg(2));
    let (terms, tiles) = (f.arg(3), f.arg(4));
    let (zero, lanes) = (f.iconst(0), f.iconst(5));
    let mask = f.tail_mask(e, lanes);
    let outer = f.begin_loop(zero, tiles, 1, &[out]);
    let begins: Vec<Value> = (0..count).map(|_| f.zero()).collect();
    let inner = f.begin_loop(zero, terms, 1, &begins);
    let column = f.load(e, Addr::indexed(columns, inner.index, 4));
    let next: Vec<Value> = (0..count)
        .map(|k| {
            let at = Addr::indexed(rows, inner.index, 4).disp(4 * k as i32);
            let x = f.broadcast(e, at);
            f.fma(FmaOp::MulAdd, e, column, x, inner.carried[k])
        })
        .collect();
    let sums = f.end_loop(inner, &next);
    let to = outer.carried[0];
    for (k, sum) in sums.iter().enumerate() {
        let at = Addr::at(to, (k * width.bytes()) as i32);
        let before = f.load_form(e, LoadForm::Masked(mask), at);
        let sum = f.binary(BinaryOp::Add, e, *sum, before);
        f.store(e, at, sum);
    }
    let bytes = f.iconst((count * width.bytes()) as i64);
    let to = f.int(IntOp::Add, to, bytes);
    f.end_loop(outer, &[to]);
    f.ret();
    (f, count)
}

#[test]
fn sums_keep_their_registers() {
    at_widths(|width, target| {
        let (before, count) = sums(width);
        let before = before.finish().unwrap();
        let (mut after, _) = sums(width);
        after.compute_again();
        let after = after.finish().unwrap();
        let rows: Vec<f32> = (0..128).map(|k| k as f32 - 40.0).collect();
        let run = |call: &dyn Fn(&[u64])| {
            let mut out = vec![7f32; 3 * count * width.lanes(Elem::F32)];
            let rows = rows.as_ptr() as u64;
            call(&[rows, rows + 64, out.as_mut_ptr() as u64, 9, 3]);
            out
        };
        let wanted = run(&|args| interp::run(&before, args));
        assert_eq!(wanted, run(&|args| interp::run(&after, args)), "{width:?}");
        let exe = load(&after, target);
        assert_eq!(wanted, run(&|args| exe.call(args)), "{width:?}");
        assert_eq!(exe.code.stats.spills, 0, "{}", exe.text());
        // Masks of 512-bit vectors have registers of their own.
        let spills = load(&before, target).code.stats.spills;
        assert_eq!(spills > 0, width == Width::Y256);
    });
}

//! Products of loop counters that become counters of their own.
use super::interp;
use crate::wide::vir::*;

/// For `i` from `lo` in steps of 3 below `hi`: stores `i * 40 + (i << 5)` at word `i` of the
/// result, `products` times over, each with a factor more.
fn scaled(lo: Option<i64>, products: i64) -> FunctionBuilder {
    let mut f = FunctionBuilder::new("scaled", Width::Y256);
    let (out, first, hi) = (f.arg(0), f.arg(1), f.arg(2));
    let lo = lo.map_or(first, |c| f.iconst(c));
    let open = f.begin_loop(lo, hi, 3, &[]);
    let i = open.index;
    for k in 0..products {
        let factor = f.iconst(40 + k);
        let product = f.int(IntOp::Mul, factor, i);
        let shifted = f.int_shift(ShiftOp::Shl, i, 5);
        let sum = f.int(IntOp::Add, product, shifted);
        let at = Addr::indexed(out, i, 8).disp(k as i32 * 8 * 64);
        f.int_store(IntTy::I64, at, sum);
    }
    f.end_loop(open, &[]);
    f.ret();
    f
}

fn multiplications(f: &Function, block: usize) -> usize {
    let is_product = |inst: &Inst| {
        matches!(
            inst,
            Inst::Int { op: IntOp::Mul, .. }
                | Inst::IntShift {
                    op: ShiftOp::Shl,
                    ..
                }
        )
    };
    let insts = f.blocks()[block].insts.iter();
    insts.filter(|(_, inst)| is_product(inst)).count()
}

#[test]
fn products_of_counters_become_counters() {
    for lo in [None, Some(2)] {
        let before = scaled(lo, 2).finish().unwrap();
        let mut f = scaled(lo, 2);
        f.step_products();
        let after = f.finish().unwrap();
        assert_eq!(multiplications(&before, 1), 4);
        assert_eq!(multiplications(&after, 1), 0, "{after}");
        for hi in [3i64, 4, 60] {
            let run = |f: &Function| {
                let mut out = vec![0u64; 256];
                interp::run(f, &[out.as_mut_ptr() as u64, 2, hi as u64]);
                out
            };
            assert_eq!(run(&before), run(&after), "{lo:?} to {hi}");
            assert_ne!(run(&after), vec![0; 256]);
        }
    }
}

#[test]
fn many_products_stay() {
    let mut f = scaled(None, 3);
    f.step_products();
    let before = scaled(None, 3).finish().unwrap();
    assert_eq!(f.finish().unwrap(), before);
}

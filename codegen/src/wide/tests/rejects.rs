//! What the verifier and the feature check refuse.

use crate::wide::vir::*;
use crate::wide::{WideError, WideTarget, compile};

fn message(f: FunctionBuilder) -> String {
    match f.finish() {
        Err(WideError::Verify { message, .. }) => message,
        other => panic!("expected a verifier error, got {other:?}"),
    }
}

#[test]
fn wrong_class() {
    let mut f = FunctionBuilder::new("bad", Width::Y256);
    let x = f.splat_f32(1.0);
    let n = f.iconst(3);
    f.binary(BinaryOp::Add, Elem::F32, x, n);
    f.ret();
    assert!(message(f).contains("v2 is Int, Vec expected"));
}

#[test]
fn open_block() {
    let f = FunctionBuilder::new("bad", Width::Y256);
    assert!(message(f).contains("b0 has no terminator"));
}

#[test]
fn parameter_count() {
    let mut f = FunctionBuilder::new("bad", Width::Y256);
    let (b, _) = f.block(&[Class::Int]);
    f.jump(b, &[]);
    f.switch_to(b);
    f.ret();
    assert!(message(f).contains("b1 takes 1 values, 0 given"));
}

#[test]
fn use_without_dominance() {
    let mut f = FunctionBuilder::new("bad", Width::Y256);
    let n = f.arg(0);
    let (left, _) = f.block(&[]);
    let (join, _) = f.block(&[]);
    f.branch((Cmp::Lt, n, n), (left, &[]), (join, &[]));
    f.switch_to(left);
    let x = f.zero();
    f.jump(join, &[]);
    f.switch_to(join);
    f.store(Elem::F32, Addr::new(n), x);
    f.ret();
    assert!(message(f).contains("is used before its definition"));
}

#[test]
fn wrong_element_type() {
    let mut f = FunctionBuilder::new("bad", Width::Z512);
    let x = f.zero();
    f.binary(BinaryOp::Div, Elem::I32, x, x);
    f.ret();
    assert!(message(f).contains("no such operation on this element type"));
}

#[test]
fn wide_code_for_a_narrow_target() {
    let mut f = FunctionBuilder::new("zmm", Width::Z512);
    let p = f.arg(0);
    let x = f.load(Elem::F32, Addr::new(p));
    f.store(Elem::F32, Addr::at(p, 64), x);
    f.ret();
    let f = f.finish().unwrap();
    let error = compile(&f, &WideTarget::avx2()).unwrap_err();
    let WideError::Feature {
        instruction,
        feature,
    } = error
    else {
        panic!("{error}");
    };
    assert!(instruction.starts_with("vmovups zmm"), "{instruction}");
    assert_eq!(feature, "AVX512F");
    assert!(compile(&f, &WideTarget::avx512()).is_ok());
}

#[test]
fn fma_needs_its_feature() {
    let mut f = FunctionBuilder::new("fma", Width::Y256);
    let p = f.arg(0);
    let x = f.load(Elem::F32, Addr::new(p));
    let y = f.fma(FmaOp::MulAdd, Elem::F32, x, x, x);
    f.store(Elem::F32, Addr::new(p), y);
    f.ret();
    let f = f.finish().unwrap();
    let mut target = WideTarget::avx2();
    target.features.fma = false;
    let error = compile(&f, &target).unwrap_err();
    assert!(matches!(error, WideError::Feature { feature, .. } if feature == "FMA"));
}

#[test]
fn dot_products_need_their_feature() {
    for width in [Width::Y256, Width::Z512] {
        let mut f = FunctionBuilder::new("dot", width);
        let p = f.arg(0);
        let x = f.load(Elem::I32, Addr::new(p));
        let y = f.broadcast(Elem::I32, Addr::new(p));
        let z = f.dot(x, y, x);
        f.store(Elem::I32, Addr::new(p), z);
        f.ret();
        let f = f.finish().unwrap();
        let mut target = WideTarget::avx512();
        let error = compile(&f, &target).unwrap_err();
        assert!(matches!(error, WideError::Feature { feature, .. } if feature == "AVX512_VNNI"));
        target.features.avx512vnni = true;
        assert_eq!(compile(&f, &target).unwrap().stats.dots, 1);
        target.features = WideTarget::avx2().features;
        target.features.avx_vnni = true;
        assert_eq!(compile(&f, &target).is_ok(), width == Width::Y256);
    }
}

#[test]
fn text_form() {
    let mut f = FunctionBuilder::new("t", Width::Y256);
    let p = f.arg(0);
    let lo = f.iconst(0);
    let zero = f.zero();
    let open = f.begin_loop(lo, p, 8, &[zero]);
    let x = f.load(Elem::F32, Addr::indexed(p, open.index, 4).disp(-4));
    let sum = f.binary(BinaryOp::Add, Elem::F32, open.carried[0], x);
    let end = f.end_loop(open, &[sum]);
    f.store(Elem::F32, Addr::new(p), end[0]);
    f.ret();
    let expected = "\
tile t(v0: int) x256 {
b0():
  v1: int = load.i64 [v0]
  v2: int = iconst 0
  v3: vec = splat.i32 0x0
  branch lt v2, v1 ? b1(v2, v3) : b2(v3)
b1(v4: int, v5: vec):
  v7: vec = load.f32 full [v1 + v4*4 -4]
  v8: vec = add.f32 v5, v7
  v9: int = iconst 8
  v10: int = int.add v4, v9
  branch lt v10, v1 ? b1(v10, v8) : b2(v8)
b2(v6: vec):
  store.f32 full [v1], v6
  return
}
";
    assert_eq!(f.finish().unwrap().to_string(), expected);
}

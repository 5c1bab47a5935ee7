//! Small kernels as text: what the verifier accepts and refuses, and what the interpreter gives.
use proptest::prelude::*;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::interp::{Arg, InterpError, run_kernel, run_kernel_on};
use tensmith_ir::loops::math::MathFn;
use tensmith_ir::loops::{
    BinaryOp, BufferId, Const, Kernel, Scalar, Stmt, UnaryOp, parse_kernel, verify_kernel,
};
use tensmith_ir::tensor::Tensor;

/// A kernel with the declarations `a0: f32[8]`, `t1: i64[4]`, `o2: f32[8]`, `r3: f32`, `r4: i64`.
fn kernel(body: &str) -> Kernel {
    let text = format!(
        "kernel k($n in 0..=64) {{
           in a0: f32[8]  in t1: i64[4]  out o2: f32[8]  reg r3: f32[]  reg r4: i64[]
           in s5: f32[$n] out o6: f32[$n] layout(d0/4, d0 mod 4) scratch t7: f32[8]
           {body}
         }}"
    );
    parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn text_is_as_written() {
    let text = "\
kernel conv_add($batch in 1..=64) {
  in a0: f32[$batch, 3]
  in a1: f32[3]
  out o2: f32[$batch] layout(d0/4, d0 mod 4)
  reg r3: f32[]
  for i0 < $batch space parallel {
    r3 = 0.0f32
    for i1 < 3 reduce {
      r3 = r3 + a0[i0, i1] * (a1[i1] - -1.5f32)
    }
    if [i0 - 1] {
      r3 = max(r3, guard([-i0 + 5], f32(index(i0)), -inf_f32))
    } else {
      r3 = neg(r3)
    }
    o2[i0] = exp(r3)
  }
}";
    let kernel = parse_kernel(text).expect("parses");
    assert_eq!(kernel.to_string(), text);
    verify_kernel(&kernel).expect("is legal");
}

#[test]
fn legal_kernels_are_accepted() {
    let legal = [
        "for i0 < 8 space { o2[i0] = guard([i0 - 1, 8 - i0], a0[i0 - 1], 0.0f32) }",
        "for i0 < 10 space { if [7 - i0] { o2[i0] = a0[-i0 + 7] } }",
        "for i0 < 16 space { o2[div(i0, 2)] = a0[mod(i0, 8)] }",
        "for i0 < $n space { o6[i0] = s5[$n - 1 - i0] }",
        "for i0 < div($n + 3, 4) space { for i1 < min(4, $n - 4*i0) space { o6[4*i0 + i1] = s5[4*i0 + i1] } }",
        // The padding of a blocked layout may be written.
        "for i0 < div($n + 3, 4) space { for i1 < 4 space vector { o6[4*i0 + i1] = 0.0f32 } }",
        "check i0 = t1[2] in 8 site 0 { o2[i0] = a0[i0] }",
        "for i0 < 8 space vector { r3 = a0[i0] for i1 < 3 reduce { r3 = r3 * r3 } o2[i0] = r3 }",
        "for i0 < 0 space { o2[i0 + 100] = 1.0f32 }",
        "for i0 < 3 serial { for i1 < 2 space parallel { t7[i1] = a0[i1] } o2[0] = t7[1] }",
        "r4 = 0i64 while r4 < 8i64 { check i0 = r4 in 8 site 1 { o2[i0] = 1.0f32 } r4 = r4 + 1i64 }",
    ];
    for body in legal {
        let k = kernel(body);
        verify_kernel(&k).unwrap_or_else(|e| panic!("{body}: {e}"));
        assert_eq!(parse_kernel(&k.to_string()).as_ref(), Ok(&k), "{body}");
    }
}

#[test]
fn illegal_kernels_are_refused() {
    let illegal = [
        ("for i0 < 9 space { o2[i0] = 0.0f32 }", "not proved: i0 < 8"),
        (
            "for i0 < 8 space { o2[i0] = a0[i0 - 1] }",
            "not proved: i0 - 1 >= 0",
        ),
        (
            "for i0 < 8 space { o2[i0] = guard([i0], a0[i0 - 1], 0.0f32) }",
            "i0 - 1 >= 0",
        ),
        ("for i0 < $n space { o6[i0] = s5[i0 + 1] }", "i0 + 1 < $n"),
        ("for i0 < $n space { o2[i0] = 0.0f32 }", "i0 < 8"),
        (
            "for i0 < 8 space { if [i0 - 4] { } else { o2[i0 + 5] = 0.0f32 } }",
            "i0 + 5 < 8",
        ),
        ("o2[i0] = 0.0f32", "i0 is not bound"),
        (
            "for i0 < 8 space { for i0 < 8 space { } }",
            "i0 is bound twice",
        ),
        ("for i0 < $m space { }", "$m is not a size"),
        ("o2[0, 0] = 0.0f32", "2 indices"),
        ("o2[0] = 0.0f64", "f64, want f32"),
        ("o2[0] = a0[0] + 1i64", "Add of f32 and i64"),
        ("o2[0] = f32(not(1.0f32))", "Not of f32"),
        ("a0[0] = 0.0f32", "store to the input"),
        ("check i0 = 1i32 in 8 site 0 { }", "i32, want i64"),
        ("if r4 { }", "i64, want bool"),
        ("o2[0] = r3", "read before it is written"),
        (
            "for i0 < $n space { r3 = 0.0f32 } o2[0] = r3",
            "read before",
        ),
        (
            "r3 = 0.0f32 for i0 < 8 space jam { r3 = r3 + 1.0f32 o2[i0] = r3 }",
            "read before",
        ),
        (
            "for i0 < 8 space jam { r3 = a0[i0] } o2[0] = r3",
            "read before",
        ),
        (
            "for i0 < 8 space { for i1 < 8 space parallel { o2[i1] = 0.0f32 } }",
            "not outermost",
        ),
        ("for i0 < $n space vector { }", "not known"),
        (
            "for i0 < 8 serial vector { o2[i0] = 0.0f32 }",
            "not independent",
        ),
        (
            "for i0 < 8 serial parallel { o2[i0] = 0.0f32 }",
            "not independent",
        ),
        (
            "for i0 < 8 space vector { for i1 < i0 space { o2[i0] = 0.0f32 } }",
            "depends on the lane",
        ),
        (
            "for i0 < 8 space vector { if [i0 - 1] { o2[i0] = 0.0f32 } }",
            "depends on the lane",
        ),
        (
            "for i0 < 8 space vector { if a0[i0] < 0.0f32 { o2[i0] = 0.0f32 } }",
            "depends on the lane",
        ),
        (
            "for i0 < 8 space vector { t7[0] = a0[i0] o2[i0] = t7[0] }",
            "same element",
        ),
        (
            "for i0 < 8 space parallel { o2[0] = a0[i0] }",
            "same element",
        ),
        (
            "for i0 < 3 serial { for i1 < 2 space parallel { t7[0] = a0[i1] } o2[0] = t7[0] }",
            "iterations of loop i1 may meet in `t7`",
        ),
        (
            "for i0 < 3 serial { t7[0] = a0[0]
               if t7[0] < 1.0f32 { for i1 < 2 space parallel { o2[i1] = a0[i1] } } }",
            "threads cannot get to loop i1 alike",
        ),
        (
            "for i0 < 3 serial { for i1 < 2 space { r3 = a0[i1] t7[i1] = r3 }
               for i2 < 2 space parallel { o2[i2] = r3 + t7[i2] } }",
            "`r3` is seen by one thread only",
        ),
    ];
    for (body, reason) in illegal {
        let error = verify_kernel(&kernel(body)).expect_err(body).to_string();
        assert!(error.contains(reason), "{body}: {error}");
    }
}

#[test]
fn wrong_text_is_refused_with_a_place() {
    let wrong = [
        ("o9[0] = 1.0f32", "expected a statement"),
        ("o2[0] = 300u8", "300 is not a number of type u8"),
        ("o2[0] = foo(1.0f32)", "`foo` is not a function"),
        ("o2[0] = fma(1.0f32)", "1 arguments for `fma`, want 3"),
        ("for i0 < 8 { }", "expected `space`"),
        ("o2[0] = ", "expected a scalar"),
    ];
    for (body, reason) in wrong {
        let text = format!("kernel k() {{\n  out o2: f32[8]\n  {body}\n}}");
        let error = parse_kernel(&text).expect_err(body);
        assert!(error.reason.contains(reason), "{body}: {error}");
        assert!((3..=4).contains(&error.line), "{body}: {error}");
    }
}

fn f32s(t: &Tensor) -> Vec<f64> {
    t.to_f64()
}

/// Runs a kernel without sizes on `a0: f32[8]` = 0, 1, .. 7.
fn run(decls: &str, body: &str) -> Result<Vec<Tensor>, InterpError> {
    let text = format!("kernel k() {{ in a0: f32[8] {decls} {body} }}");
    let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_kernel(&kernel).unwrap_or_else(|e| panic!("{e}"));
    let values: Vec<f32> = (0..8).map(|k| k as f32).collect();
    run_kernel(&kernel, &[], &[Tensor::from_f32(vec![8], &values)])
}

#[test]
fn loops_reduce_and_branch() {
    let got = run(
        "out o1: f32[2] reg r2: f32[]",
        "for i0 < 2 space { r2 = 0.0f32
           for i1 < 4 reduce { if [i1 - 1] { r2 = r2 + a0[4*i0 + i1] } else { r2 = r2 + 0.5f32 } }
           o1[i0] = r2 }",
    );
    assert_eq!(f32s(&got.expect("runs")[0]), [6.5, 18.5]);
}

#[test]
fn blocked_layouts_place_elements() {
    let got = run(
        "out o1: f32[2, 3] layout(d0, d1/2, d1 mod 2)",
        "for i0 < 2 space { for i1 < 4 space { o1[i0, i1] = guard([2 - i1], a0[3*i0 + i1], 9.0f32) } }",
    );
    let got = &got.expect("runs")[0];
    assert_eq!(got.shape, [2, 2, 2]);
    assert_eq!(f32s(got), [0.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0, 9.0]);
}

#[test]
fn the_first_failed_check_is_reported_and_the_rest_runs() {
    let text = "kernel k() { in t0: i64[4] out o1: i64[4]
        for i0 < 4 space { o1[i0] = 7i64 check i1 = t0[i0] in 3 site 5 { o1[i0] = index(i1) } } }";
    let kernel = parse_kernel(text).expect("parses");
    verify_kernel(&kernel).expect("is legal");
    let input = Tensor::from_i64(vec![4], &[2, -1, 9, 0]);
    let mut out = [0u8; 32];
    let mut args = [Arg::Bytes(&input.data), Arg::from(&mut out[..])];
    let want = InterpError::Check {
        site: 5,
        value: -1,
        extent: 3,
    };
    assert_eq!(run_kernel_on(&kernel, &[], &mut args), Err(want));
    assert_eq!([out[0], out[8], out[16], out[24]], [2, 7, 7, 0]);
}

#[test]
fn accesses_out_of_range_are_errors() {
    let text = "kernel k() { out o1: f32[4] for i0 < 5 space { o1[i0] = 0.0f32 } }";
    let kernel = parse_kernel(text).expect("parses");
    let error = run_kernel(&kernel, &[], &[]).expect_err("o1[4] does not exist");
    assert!(matches!(error, InterpError::OutOfRange { index, .. } if index == [4]));
}

#[test]
fn sizes_and_arguments_must_fit() {
    let k = kernel("for i0 < $n space { o6[i0] = s5[i0] }");
    let refused = |sizes: &[i64], inputs: &[Tensor]| {
        matches!(
            run_kernel(&k, sizes, inputs),
            Err(InterpError::Arguments { .. })
        )
    };
    let a = Tensor::from_f32(vec![8], &[0.0; 8]);
    let t = Tensor::from_i64(vec![4], &[0; 4]);
    let s = |n: usize| Tensor::from_f32(vec![n], &vec![1.0; n]);
    assert!(refused(&[], &[a.clone(), t.clone(), s(2)]));
    assert!(refused(&[65], &[a.clone(), t.clone(), s(65)]));
    assert!(refused(&[3], &[a.clone(), t.clone(), s(2)]));
    assert!(refused(&[2], &[a.clone(), t.clone()]));
    let out = run_kernel(&k, &[2], &[a, t, s(2)]).expect("fits");
    assert_eq!(out[1].shape, [1, 4]);
}

fn index() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        (-9i64..9).prop_map(Expr::from),
        (0u32..3).prop_map(|v| Expr::var(Var(v))),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a + b),
            (inner.clone(), -3i64..4).prop_map(|(a, b)| a * b),
            (inner, 1i64..5).prop_map(|(a, b)| a.div(b)),
        ]
    })
}

fn constant() -> impl Strategy<Value = Const> {
    (0..DType::ALL.len(), any::<u64>()).prop_map(|(d, bits)| {
        let dtype = DType::ALL[d];
        let bits = match dtype {
            DType::Bool => bits & 1,
            _ => bits >> (64 - 8 * dtype.bytes()),
        };
        Const { dtype, bits }
    })
}

fn scalar() -> impl Strategy<Value = Scalar> {
    use UnaryOp::*;
    let unary = prop::sample::select(vec![Neg, Abs, Sqrt, Floor, Ceil, Trunc, Round, Not]);
    let leaf = prop_oneof![
        constant().prop_map(Scalar::Const),
        index().prop_map(Scalar::Index),
        Just(Scalar::load(BufferId(3), vec![])),
        index().prop_map(|i| Scalar::load(BufferId(0), vec![i])),
    ];
    leaf.prop_recursive(5, 40, 3, move |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let (a, b, c) = (boxed.clone(), boxed.clone(), boxed);
        let dtype = prop::sample::select(DType::ALL.to_vec());
        let math = prop::sample::select(MathFn::ALL.to_vec());
        prop_oneof![
            (unary.clone(), a.clone()).prop_map(|(op, a)| Scalar::Unary(op, a)),
            (binary(), a.clone(), b.clone()).prop_map(|(op, a, b)| Scalar::Binary(op, a, b)),
            (a.clone(), b.clone(), c.clone()).prop_map(|(a, b, c)| Scalar::Fma(a, b, c)),
            (a.clone(), b.clone(), c).prop_map(|(a, b, c)| Scalar::Select(a, b, c)),
            (dtype.clone(), a.clone()).prop_map(|(d, a)| Scalar::Cast(d, a)),
            (dtype, a.clone()).prop_map(|(d, a)| Scalar::Bitcast(d, a)),
            (math, prop::collection::vec(inner, 1..3)).prop_map(|(f, args)| Scalar::Call(f, args)),
            (prop::collection::vec(index(), 1..3), a, b)
                .prop_map(|(es, a, b)| Scalar::Guard(es, a, b)),
        ]
    })
}

fn binary() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    prop::sample::select(vec![
        Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr, Scale, Eq, Ne, Lt, Le,
    ])
}

proptest! {
    #[test]
    fn any_kernel_reads_back(values in prop::collection::vec((index(), scalar()), 1..4)) {
        let mut k = kernel("");
        for (i, value) in values {
            let index = vec![i];
            k.body.push(Stmt::Store { buffer: BufferId(2), index, value });
        }
        k.vars = 3;
        let text = k.to_string();
        prop_assert_eq!(parse_kernel(&text), Ok(k), "{}", text);
    }

    #[test]
    fn any_text_is_parsed_or_refused(body in "[a-z0-9_ ()\\[\\]{}<=,+*/.$-]{0,80}") {
        let _ = parse_kernel(&format!("kernel k() {{ in i: f32[] {body}"));
    }
}

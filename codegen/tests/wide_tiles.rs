//! Wide tiles against the loop interpreter and against 128-bit code, bit by bit, at every width
//! that this machine has, in buffers that begin and end at unmapped pages.
mod support;

use std::collections::HashSet;
use support::{Edge, arguments, inputs, kernel, plan_of, run_for, same, targets};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::KernelStats;
use tensmith_codegen::target::Target;
use tensmith_ir::define::define_task;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::graph::{NodeId, TensorType};
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::loops::{BinaryOp, BufferId, Const, Kernel, Scalar, Stmt, UnaryOp, verify_kernel};
use tensmith_ir::ops::{self, Lower, Op, Sample, Sampler, single_node_graph};
use tensmith_ir::tensor::Tensor;
use tensmith_passes::schedule::{Target as ScheduleTarget, default_schedule};

/// A target without AVX and FMA, if this machine runs its code.
fn older() -> Option<Target> {
    let target = Target::named("x86-64-v2").unwrap();
    let host = Target::host();
    let runs = target.features.iter().all(|f| host.features.contains(f));
    runs.then_some(target)
}

fn stats(kernel: &Kernel, target: &Target) -> KernelStats {
    let code = JitCode::compile(&plan_of(kernel.clone()), target).unwrap();
    code.stats[0]
}

/// Holds a kernel to the interpreter for every target; the wide ones must use `tiles` tiles.
fn check(kernel: &Kernel, sizes: &[i64], tiles: usize) {
    check_within(kernel, sizes, tiles, 0.0);
}

/// A NaN wins wherever it stands, in the first vector, in the last one or in the lanes between;
/// what is behind the end of a row does not.
#[test]
fn extremes_of_rows_keep_nans() {
    for columns in [5usize, 16, 20, 49, 77] {
        for (op, least) in [("max", "-inf_f32"), ("min", "inf_f32")] {
            let k = kernel(&format!(
                "kernel k() {{ in a: f32[{rows}, {columns}] out o: f32[{rows}] reg r: f32[] \
                 for i0 < {rows} space {{ r = {least} for i1 < {columns} reduce vector {{ \
                 r = {op}(r, a[i0, i1]) }} o[i0] = r }} }}",
                rows = columns + 2
            ));
            let mut elements = inputs(&k, &[])[0].to_f64();
            for row in 0..columns {
                elements[row * columns + row] = f64::NAN * if row % 2 == 0 { 1.0 } else { -1.0 };
            }
            elements[columns * columns..][..columns].fill(f64::INFINITY);
            let elements: Vec<f32> = elements.into_iter().map(|x| x as f32).collect();
            let args = [Tensor::from_f32(vec![columns + 2, columns], &elements)];
            let want = run_kernel(&k, &[], &args).unwrap();
            for target in targets() {
                let got = run_for(&target, &k, &[], &args, 1, Edge::End).unwrap();
                same(&want, &got).unwrap_or_else(|e| panic!("{:?}: {e}\n{k}", target.wide));
            }
        }
    }
}

/// Every element within `error` of its magnitude: the interpreter joins lanes one by one.
fn close(want: &[Tensor], got: &[Tensor], error: f64) -> Result<(), String> {
    if error == 0.0 {
        return same(want, got);
    }
    for (w, g) in want.iter().zip(got) {
        let (w, g) = (w.to_f64(), g.to_f64());
        let near = |x: &f64, y: &f64| (x - y).abs() <= error * x.abs();
        if let Some(at) = w.iter().zip(&g).position(|(x, y)| !near(x, y)) {
            return Err(format!("element {at}: want {:e}, got {:e}", w[at], g[at]));
        }
    }
    Ok(())
}

fn check_within(kernel: &Kernel, sizes: &[i64], tiles: usize, error: f64) {
    let args = inputs(kernel, sizes);
    let want = run_kernel(kernel, sizes, &args).unwrap();
    for target in targets() {
        let found = stats(kernel, &target);
        let expected = if target.wide.is_some() { tiles } else { 0 };
        assert_eq!(found.wide_tiles, expected, "{found:?}\n{kernel}");
        for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
            let got = run_for(&target, kernel, sizes, &args, threads, edge).unwrap();
            let fail = |e| panic!("{:?}: {e}\n{kernel}", target.wide);
            close(&want, &got, error).unwrap_or_else(fail);
        }
    }
}

/// How the tile of [`contraction`] reads and writes memory.
#[derive(Clone, Copy)]
struct Shape {
    tiles: &'static str,
    rows: usize,
    columns: usize,
    depth: &'static str,
    /// Weights lie depth by depth.
    packed: bool,
    /// Results lie row by row.
    row_major: bool,
}

/// Contraction, bias and ReLU.
fn contraction(s: Shape) -> Kernel {
    let Shape {
        tiles,
        rows,
        columns,
        depth,
        packed,
        row_major,
    } = s;
    let (weights, weight) = if packed {
        (format!("{depth}, {columns}"), "i3, i2")
    } else {
        (format!("{columns}, {depth}"), "i2, i3")
    };
    let row = format!("{rows}*i0 + i1");
    let (result, element) = if row_major {
        (format!("{rows}*{tiles}, {columns}"), format!("{row}, i2"))
    } else {
        (format!("{columns}, {rows}*{tiles}"), format!("i2, {row}"))
    };
    kernel(&format!(
        "kernel contraction($n in 1..=9, $k in 0..=64) {{
           in a0: f32[{rows}*{tiles}, {depth}] in b1: f32[{weights}] in c2: f32[{columns}]
           out o3: f32[{result}] reg r4: f32[] reg r5: f32[]
           for i0 < {tiles} space parallel {{
             for i1 < {rows} space jam {{
               for i2 < {columns} space vector {{
                 r4 = 0.0f32
                 for i3 < {depth} reduce {{
                   r4 = fma(a0[{row}, i3], b1[{weight}], r4)
                 }}
                 r5 = r4 + c2[i2]
                 o3[{element}] = max(r5, 0.0f32)
               }}
             }}
           }}
         }}"
    ))
}

#[test]
fn contractions_with_bias_and_relu() {
    for rows in [1, 3, 4, 6] {
        for columns in [5, 8, 12, 13, 16, 24, 31, 32, 48] {
            for (tiles, depth) in [("3", "1"), ("2", "17"), ("$n", "16"), ("$n", "$k")] {
                let s = Shape {
                    tiles,
                    rows,
                    columns,
                    depth,
                    packed: true,
                    row_major: true,
                };
                let k = contraction(s);
                for sizes in [[1, 0], [3, 19]] {
                    check(&k, &sizes, 1);
                }
            }
        }
    }
}

#[test]
fn strided_loads_and_stores() {
    for (packed, row_major) in [(true, false), (false, true), (false, false)] {
        for columns in [8, 13, 16] {
            for (tiles, depth) in [("2", "7"), ("$n", "$k")] {
                let s = Shape {
                    tiles,
                    rows: 2,
                    columns,
                    depth,
                    packed,
                    row_major,
                };
                check(&contraction(s), &[3, 5], 1);
            }
        }
    }
}

/// Whole loops become one tile, with the branches and the padding inside.
#[test]
fn loops_around_nests() {
    let text = "
        kernel window($n in 1..=9) {
          in a0: f32[$n, 20] in b1: f32[3, 3, 24] out o2: f32[$n, 20, 24] reg r3: f32[]
          for i0 < $n space parallel {
            for i1 < 5 space {
              for i2 < 4 space jam {
                for i3 < 24 space vector {
                  r3 = 0.0f32
                  for i4 < 3 reduce { for i5 < 3 reduce {
                    r3 = r3 + guard([i0 + i4 - 1, $n - i0 - i4, 4*i1 + i2 + i5 - 1, 20 - 4*i1 - i2 - i5],
                                    a0[i0 + i4 - 1, 4*i1 + i2 + i5 - 1], 0.0f32) * b1[i4, i5, i3]
                  } }
                  if [3 - i1] { o2[i0, 4*i1 + i2, i3] = r3 } else { o2[i0, 4*i1 + i2, i3] = neg(r3) }
                }
              }
            }
          }
        }";
    check(&kernel(text), &[1], 1);
    check(&kernel(text), &[7], 1);
}

/// Numbers that are indices: the same steps in each vector, or others in each of few vectors.
#[test]
fn numbers_that_are_indices() {
    for index in [
        "mod(2*i1 + 3, 4)",
        "mod(5*i1 + i0, 7)",
        "3*i1 - i0",
        "div(5*i1, 9)",
    ] {
        let text = format!(
            "kernel numbers() {{
              in a0: f32[3, 40] out o1: f32[3, 2, 40] reg r2: f32[]
              for i0 < 3 space parallel {{
                for i2 < 2 space jam {{
                  for i1 < 40 space vector {{
                    r2 = f32(index({index})) * 0.25f32
                    o1[i0, i2, i1] = a0[i0, i1] * r2 + f32(index(i2 + 1))
                  }}
                }}
              }}
            }}"
        );
        check(&kernel(&text), &[], 1);
    }
}

/// Registers computed before a tile are read inside, and those that it sums are read after it.
#[test]
fn registers_across_the_edge() {
    let text = "
        kernel scale() {
          in a0: f32[6, 16] in b1: f32[6] out o2: f32[6, 16] reg r3: f32[] reg r4: f32[]
          for i0 < 6 space parallel {
            r3 = exp(b1[i0])
            for i1 < 16 space vector { r4 = sigmoid(a0[i0, i1]) o2[i0, i1] = r4 * r3 }
          }
        }";
    check(&kernel(text), &[], 1);
    let text = "
        kernel sum() {
          in a0: f32[16] out o1: f32[] reg r2: f32[]
          r2 = 0.25f32
          for i0 < 16 reduce vector { r2 = r2 + a0[i0] }
          o1[] = r2
        }";
    check_within(&kernel(text), &[], 1, 1e-6);
    let text = "
        kernel greatest() {
          in a0: f32[20] in a1: f32[8] out o1: f32[8] reg r2: f32[] reg r3: i32[] reg r4: i32[]
          r2 = -inf_f32
          r3 = 7i32
          for i0 < 20 reduce vector { r2 = max(r2, a0[i0]) }
          for i1 < 8 reduce vector { r4 = i32(a1[i1]) r3 = r3 + r4 r2 = max(r2, a1[i1]) }
          for i2 < 8 space vector { o1[i2] = a1[i2] * r2 + f32(r3) }
        }";
    check(&kernel(text), &[], 3);
}

/// Indices with quotients, remainders and extremes: lanes out of one or two vectors, and lanes
/// that are read one by one.
#[test]
fn bent_indices() {
    for index in [
        "div(i0, 2), div(i1, 2)",
        "i0, mod(i1, 3)",
        "div(i0, 3), 2*i1",
        "mod(i0, 5), 23 - i1",
        "i0, min(i1 + 3*i0, 31)",
        "min(i0, 2), max(17 - i0 - i1, 0)",
        "i0, div(7*i0 + 5*i1, 12)",
        "div(i0*i0, 7), i0 + mod(5*i1, 17)",
    ] {
        let text = format!(
            "kernel bent() {{
               in a0: f32[7, 47] out o1: f32[7, 24]
               for i0 < 7 space parallel {{
                 for i1 < 24 space vector {{ o1[i0, i1] = a0[{index}] }}
               }}
             }}"
        );
        check(&kernel(&text), &[], 1);
    }
    let text = "
        kernel outer($n in 1..=9) {
          in a0: f32[9, 40] out o1: f32[$n, 6, 13]
          for i0 < $n space parallel {
            for i1 < 6 space {
              for i2 < 13 space vector {
                o1[i0, i1, i2] = a0[div(i0 + 2*i1, 3), mod(i1 + i0, 5) + div(i2 + 13*mod(i1, 2), 4) + i2]
              }
            }
          }
        }";
    check(&kernel(text), &[1], 1);
    check(&kernel(text), &[8], 1);
}

/// Rows of `columns` values joined over vector lanes, with a partial result in each lane.
fn horizontal(dtype: DType, start: &str, join: &str, columns: usize) -> Kernel {
    let ty = dtype.name();
    let join = |a: &str, b: &str| join.replace("$a", a).replace("$b", b);
    let load = "a0[i0, i2, i1]";
    let term = match dtype {
        DType::F32 => load.to_owned(),
        // Some are greater than what signed integers hold.
        DType::U32 => format!("u32(i32({load}))"),
        // Every row and every lane has both, unless it is short.
        DType::Bool => format!("{load} <= 400.0f32"),
        _ => format!("{ty}({load})"),
    };
    let result = match dtype {
        DType::F32 => "r2",
        _ => "f32(r2)",
    };
    kernel(&format!(
        "kernel join($n in 1..=9) {{
           in a0: f32[6, $n, {columns}] out o1: f32[6, 2] reg r2: {ty}[] reg r3: {ty}[] reg r4: {ty}[]
           for i0 < 6 space parallel {{
             r2 = {start}
             for i1 < {columns} reduce vector {{
               r3 = {start}
               for i2 < $n reduce {{ r4 = {term} r3 = {} }}
               r2 = {}
             }}
             o1[i0, 0] = {result}
             o1[i0, 1] = 1.0f32
           }}
         }}",
        join("r3", "r4"),
        join("r2", "r3"),
    ))
}

/// Joins over lanes are one wide tile, with every lane once, NaN winning and tails left out.
#[test]
fn horizontal_reductions() {
    let cases = [
        (DType::F32, "-0.0f32", "$a + $b"),
        (DType::F32, "-inf_f32", "max($a, $b)"),
        (DType::F32, "inf_f32", "min($a, $b)"),
        (DType::I32, "0i32", "$a + $b"),
        (DType::I32, "1i32", "$a * $b"),
        (DType::I32, "-2147483648i32", "max($a, $b)"),
        (DType::I32, "2147483647i32", "min($a, $b)"),
        (DType::I32, "-1i32", "and($a, $b)"),
        (DType::I32, "0i32", "or($a, $b)"),
        (DType::I32, "0i32", "xor($a, $b)"),
        (DType::U32, "0u32", "$a + $b"),
        (DType::U32, "1u32", "$a * $b"),
        (DType::U32, "0u32", "max($a, $b)"),
        (DType::U32, "4294967295u32", "min($a, $b)"),
        (DType::U32, "4294967295u32", "and($a, $b)"),
        (DType::U32, "0u32", "or($a, $b)"),
        (DType::U32, "0u32", "xor($a, $b)"),
        (DType::Bool, "true", "and($a, $b)"),
        (DType::Bool, "false", "or($a, $b)"),
        (DType::Bool, "false", "xor($a, $b)"),
    ];
    for (dtype, start, join) in cases {
        for columns in [5, 8, 16, 17, 20, 49, 64, 70] {
            for rows in [1, 4] {
                let k = horizontal(dtype, start, join, columns);
                // Whole numbers, whose sums are exact in every order.
                let mut values: Vec<f32> = (0..6 * rows * columns)
                    .map(|i| ((i * 7919 + 13) % 1013) as f32 - 506.0)
                    .collect();
                if dtype == DType::F32 {
                    let row = rows * columns;
                    values[row + row / 2] = f32::NAN;
                    values[3 * row - 1] = f32::INFINITY;
                    values[3 * row] = f32::NEG_INFINITY;
                }
                let args = [Tensor::from_f32(vec![6, rows, columns], &values)];
                let sizes = [rows as i64];
                let want = run_kernel(&k, &sizes, &args).unwrap();
                for target in targets() {
                    let wide = usize::from(target.wide.is_some());
                    assert_eq!(stats(&k, &target).wide_tiles, wide, "{k}");
                    for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
                        let got = run_for(&target, &k, &sizes, &args, threads, edge).unwrap();
                        same(&want, &got).unwrap_or_else(|e| panic!("{:?}: {e}\n{k}", target.wide));
                    }
                }
            }
        }
    }
}

/// Sums that round have the same order of additions at every width of code, where lanes fill
/// 128-bit vectors.
#[test]
fn horizontal_sums_round_alike() {
    for columns in [16, 20, 48, 64, 72] {
        let k = horizontal(DType::F32, "-0.0f32", "$a + $b", columns);
        let args = inputs(&k, &[3]);
        let run = |t: &Target| run_for(t, &k, &[3], &args, 1, Edge::End).unwrap();
        let all = targets();
        let want = run(&all[0]);
        for target in &all[1..] {
            let e = same(&want, &run(target));
            e.unwrap_or_else(|e| panic!("{columns} columns, {:?}: {e}", target.wide));
        }
    }
}

/// The mantissa of `x` times a power of two by `y`, out of all that results can be.
fn scaled(x: &Scalar, y: &Scalar) -> Scalar {
    use BinaryOp as B;
    let bits = |bits: i128| Scalar::Const(Const::int(DType::U32, bits));
    let mantissa = Scalar::Bitcast(DType::U32, x.clone().into());
    let mantissa = Scalar::binary(B::And, mantissa, bits(0x7f_ffff));
    let mantissa = Scalar::binary(B::Or, mantissa, bits(0x3f80_0000));
    let [least, most] = [-152.0, 130.0].map(|n| Scalar::num(DType::F32, n));
    let n = Scalar::binary(B::Mul, y.clone(), Scalar::num(DType::F32, 40.0));
    let above = Scalar::binary(B::Lt, least.clone(), n.clone());
    let n = Scalar::select(above, n, least);
    let below = Scalar::binary(B::Lt, n.clone(), most.clone());
    let n = Scalar::select(below, n, most);
    let mantissa = Scalar::Bitcast(DType::F32, mantissa.into());
    Scalar::binary(B::Scale, mantissa, Scalar::unary(UnaryOp::Round, n))
}

/// Operations that a wide tile must carry, over `x` and `y`.
fn operations(x: &Scalar, y: &Scalar) -> Vec<Scalar> {
    use BinaryOp as B;
    let (f32s, ints) = (DType::F32, [DType::I32, DType::U32]);
    let mut all: Vec<Scalar> = [B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max]
        .into_iter()
        .flat_map(|op| {
            let two = Scalar::num(f32s, -2.5);
            [
                Scalar::binary(op, x.clone(), y.clone()),
                Scalar::binary(op, x.clone(), two.clone()),
                Scalar::binary(op, two, y.clone()),
            ]
        })
        .collect();
    for op in [B::Eq, B::Ne, B::Lt, B::Le] {
        let c = Scalar::binary(op, x.clone(), y.clone());
        let not = Scalar::unary(UnaryOp::Not, c.clone());
        let both = Scalar::binary(B::And, not.clone(), Scalar::binary(B::Xor, c.clone(), not));
        all.push(Scalar::select(c.clone(), x.clone(), y.clone()));
        all.push(Scalar::select(both, x.clone(), y.clone()));
        all.push(Scalar::cast(f32s, c));
    }
    let rounding = [
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Trunc,
        UnaryOp::Round,
    ];
    let unary = [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Sqrt];
    all.extend(
        rounding
            .into_iter()
            .chain(unary)
            .map(|op| Scalar::unary(op, x.clone())),
    );
    let (a, b, c) = (x.clone().into(), y.clone().into(), x.clone().into());
    all.push(Scalar::Fma(a, b, c));
    all.push(scaled(x, y));
    all.push(Scalar::cast(f32s, Scalar::cast(DType::I32, x.clone())));
    for d in ints {
        let bits = |s: &Scalar| Scalar::Bitcast(d, s.clone().into());
        let (p, q) = (bits(x), bits(y));
        let binary = [
            B::Add,
            B::Sub,
            B::Mul,
            B::Min,
            B::Max,
            B::And,
            B::Or,
            B::Xor,
        ];
        let mut values: Vec<Scalar> = binary
            .into_iter()
            .map(|op| Scalar::binary(op, p.clone(), q.clone()))
            .collect();
        for count in [0.0, 5.0, 31.0, 32.0, 40.0] {
            let count = Scalar::num(d, count);
            values.push(Scalar::binary(B::Shl, p.clone(), count.clone()));
            values.push(Scalar::binary(B::Shr, p.clone(), count));
        }
        for op in [B::Eq, B::Ne, B::Lt, B::Le] {
            let c = Scalar::binary(op, p.clone(), q.clone());
            values.push(Scalar::select(c, p.clone(), q.clone()));
        }
        for op in [UnaryOp::Neg, UnaryOp::Not, UnaryOp::Abs] {
            values.push(Scalar::unary(op, p.clone()));
        }
        all.extend(values.into_iter().map(|v| Scalar::Bitcast(f32s, v.into())));
    }
    all
}

/// Numbers whose pairs are inputs of [`operations`].
const SPECIAL: [f32; 17] = [
    f32::NAN,
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.5,
    -3.5,
    f32::INFINITY,
    f32::NEG_INFINITY,
    1e-40,
    -1e-40,
    f32::MAX,
    2147483648.0,
    -2147483648.0,
    2147483520.0,
    8388609.5,
    0.5,
];

/// All pairs of [`SPECIAL`], `columns` in a row as often as there is a whole one.
fn pairs(columns: usize) -> [Tensor; 2] {
    let n = SPECIAL.len();
    let rows = n * n / columns;
    let column = |f: &dyn Fn(usize) -> usize| {
        let values: Vec<f32> = (0..rows * columns).map(|k| SPECIAL[f(k)]).collect();
        Tensor::from_f32(vec![rows, columns], &values)
    };
    [column(&|k| k / n), column(&|k| k % n)]
}

/// A kernel for each of [`operations`], over [`pairs`].
fn operation_kernels(columns: usize) -> Vec<Kernel> {
    let rows = SPECIAL.len() * SPECIAL.len() / columns;
    let skeleton = kernel(&format!(
        "kernel special() {{
           in a0: f32[{rows}, {columns}] in b1: f32[{rows}, {columns}] out o2: f32[{rows}, {columns}]
           for i0 < {rows} space parallel {{
             for i1 < {columns} space vector {{ o2[i0, i1] = 0.0f32 }}
           }}
         }}"
    ));
    let index: Vec<_> = [Var(0), Var(1)].map(Expr::var).into();
    let load = |b| Scalar::load(BufferId(b), index.clone());
    let with = |value| {
        let mut k = skeleton.clone();
        let Stmt::For(outer) = &mut k.body[0] else {
            panic!()
        };
        let Stmt::For(inner) = &mut outer.body[0] else {
            panic!()
        };
        inner.body = vec![Stmt::Store {
            buffer: BufferId(2),
            index: index.clone(),
            value,
        }];
        verify_kernel(&k).unwrap_or_else(|e| panic!("{e}\n{k}"));
        k
    };
    let all = operations(&load(0), &load(1));
    all.into_iter().map(with).collect()
}

/// NaN, both zeros, infinities, denormals and the edges of integers, in all pairs.
#[test]
fn special_values() {
    let columns = SPECIAL.len();
    let args = pairs(columns);
    for k in operation_kernels(columns) {
        let want = run_kernel(&k, &[], &args).unwrap();
        for target in targets().into_iter().chain(older()) {
            let tiles = usize::from(target.wide.is_some());
            assert_eq!(stats(&k, &target).wide_tiles, tiles, "{k}");
            let got = run_for(&target, &k, &[], &args, 1, Edge::End).unwrap();
            let fail = |e| panic!("{} {:?}: {e}\n{k}", target.name, target.wide);
            same(&want, &got).unwrap_or_else(fail);
        }
    }
}

/// Vectors at every address that suits their elements: the instructions of targets without AVX
/// that read whole vectors from memory fault at other addresses than multiples of 16.
#[test]
fn elements_at_every_address() {
    let args = pairs(16);
    for k in operation_kernels(16) {
        let want = run_kernel(&k, &[], &args).unwrap();
        for target in targets().into_iter().chain(older()) {
            for past in [4, 8, 12] {
                let got = run_for(&target, &k, &[], &args, 1, Edge::Past(past)).unwrap();
                let fail = |e| panic!("{} {:?} {past}: {e}\n{k}", target.name, target.wide);
                same(&want, &got).unwrap_or_else(fail);
            }
        }
    }
}

/// Every operation of the table, as default schedules run it, gives what 128-bit code gives.
#[test]
fn scheduled_operations() {
    let rows = ops::all().filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)));
    let mut failures = Vec::new();
    let mut tiles = 0;
    for op in rows {
        for seed in 0..8 {
            for sample in (op.samples)(&mut Sampler::new(2000 + seed)) {
                match operation(op, &sample) {
                    Ok(found) => tiles += found,
                    Err(e) => failures.push(format!("{} seed {seed}: {e}", op.name)),
                }
            }
        }
    }
    let shown = failures[..failures.len().min(5)].join("\n");
    assert!(failures.is_empty(), "{} failures:\n{shown}", failures.len());
    assert!(tiles > 50 || targets().len() == 1, "only {tiles} tiles");
}

fn operation(op: Op, sample: &Sample) -> Result<usize, String> {
    let ty = |t: &Tensor| TensorType::new(t.dtype, t.shape.iter().map(|d| (*d).into()).collect());
    let types: Vec<TensorType> = sample.inputs.iter().map(ty).collect();
    let graph = single_node_graph(op, &types, sample.attrs.clone()).map_err(|e| e.to_string())?;
    let definition = define_task(&graph, NodeId(0), &HashSet::from([NodeId(0)]));
    let args = arguments(&definition, &graph, &sample.inputs);
    let schedule = ScheduleTarget {
        fma: true,
        threads: 2,
        ..ScheduleTarget::default()
    };
    let k = default_schedule(definition.kernel, &schedule, &|_| false).kernel;
    let all = targets();
    let run = |t: &Target| run_for(t, &k, &[], &args, 1, Edge::End);
    let Ok(want) = run(&all[0]) else { return Ok(0) };
    let mut tiles = 0;
    for target in &all[1..] {
        let got = run(target).map_err(|e| e.to_string())?;
        same(&want, &got).map_err(|e| format!("{:?}: {e}\n{k}", target.wide))?;
        tiles += stats(&k, target).wide_tiles;
    }
    Ok(tiles)
}

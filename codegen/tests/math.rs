//! Functions of the math table as machine code, bit by bit against the interpreter, at every width
//! that this machine has, on hostile operands: what is seldom computed is computed in some vectors
//! for all lanes, in others for a few, in others not at all.
mod support;

use support::{Edge, kernel, plan_of, run_for, same, targets};
use tensmith_codegen::jit::JitCode;
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::loops::math::MathFn;
use tensmith_ir::tensor::Tensor;

const SPECIAL: [f32; 32] = [
    f32::NAN,
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -3.0,
    0.5,
    -2.5,
    1.7,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MIN_POSITIVE,
    -1e-40,
    1e-45,
    f32::MAX,
    f32::MIN,
    32768.0,
    32768.004,
    -40000.0,
    1e10,
    -7.7e22,
    16777216.0,
    16777217.0,
    0.99999994,
    1.0000001,
    88.8,
    -104.2,
    std::f32::consts::FRAC_PI_2,
    std::f32::consts::PI,
    -1e30,
    0.1,
];

/// Columns of a row: a whole number of the least vectors, and of no others.
const COLUMNS: usize = 44;
const ROWS: usize = 26;

/// Pairs of special numbers, then numbers of modest magnitude with a special one here and there.
fn operands() -> [Tensor; 2] {
    let n = SPECIAL.len();
    let modest = |k: usize| ((k * 7919 + 13) % 1013) as f32 / 101.0 - 5.0;
    let column = |at: &dyn Fn(usize) -> usize, salt: usize| {
        let value = |k: usize| match k {
            _ if k < n * n => SPECIAL[at(k)],
            _ if k.is_multiple_of(131) => SPECIAL[(k + salt) % n],
            _ => modest(k + salt),
        };
        let values: Vec<f32> = (0..ROWS * COLUMNS).map(value).collect();
        Tensor::from_f32(vec![ROWS, COLUMNS], &values)
    };
    [column(&|k| k / n, 0), column(&|k| k % n, 5)]
}

fn call(f: MathFn) -> String {
    let args = match f.arity() {
        // Its domain ends at 0.
        1 if f == MathFn::ExpNegative => "min(a0[i0, i1], 0.0f32)",
        1 => "a0[i0, i1]",
        _ => "a0[i0, i1], b1[i0, i1]",
    };
    format!(
        "kernel call() {{
           in a0: f32[{ROWS}, {COLUMNS}] in b1: f32[{ROWS}, {COLUMNS}]
           out o2: f32[{ROWS}, {COLUMNS}]
           for i0 < {ROWS} space parallel {{
             for i1 < {COLUMNS} space vector {{ o2[i0, i1] = {}({args}) }}
           }}
         }}",
        f.name()
    )
}

#[test]
fn functions_give_the_bits_of_the_interpreter() {
    let args = operands();
    for f in MathFn::ALL {
        let k = kernel(&call(f));
        let want = run_kernel(&k, &[], &args).unwrap();
        for target in targets() {
            let code = JitCode::compile(&plan_of(k.clone()), &target).unwrap();
            let (stats, wide) = (code.stats[0], usize::from(target.wide.is_some()));
            let found = (stats.wide_tiles, stats.scalarised_loops);
            assert_eq!(found, (wide, 0), "{}: {stats:?}", f.name());
            let got = run_for(&target, &k, &[], &args, 1, Edge::End).unwrap();
            let fail = |e| panic!("{} {:?}: {e}", f.name(), target.wide);
            same(&want, &got).unwrap_or_else(fail);
        }
    }
}

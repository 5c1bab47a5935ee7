//! Elements of 8 and 16 bits and truth values in lanes of 32 bits, against the interpreter, at every
//! width that this machine has.
mod support;

use support::{Edge, kernel, plan_of, run_for, same, targets};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::Kernel;
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::tensor::Tensor;

const SHORT: [DType; 4] = [DType::I8, DType::U8, DType::I16, DType::U16];
/// Floats of 16 bits, whose bits lanes hold.
const HALVES: [DType; 2] = [DType::F16, DType::BF16];
const ROWS: usize = 5;
/// A whole number of the least vectors, and of no others.
const COLUMNS: usize = 44;

const FLOATS: [f32; 20] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    0.9,
    -0.9,
    1.0,
    -1.5,
    127.9,
    128.0,
    -128.9,
    -129.0,
    255.5,
    256.0,
    32767.9,
    -32769.0,
    65536.0,
    3e9,
    1e-40,
];

/// The integers next to the bounds of all types.
const INTS: [i64; 16] = [
    0,
    1,
    -1,
    127,
    128,
    -128,
    -129,
    255,
    256,
    32767,
    32768,
    -32768,
    65535,
    65536,
    i32::MAX as i64,
    i32::MIN as i64,
];

fn bytes_of(dtype: DType, k: usize) -> Vec<u8> {
    match dtype {
        DType::F32 => FLOATS[k % FLOATS.len()].to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(k.is_multiple_of(3))],
        // The bits of numbers, subnormal ones, infinities and NaN.
        DType::F16 | DType::BF16 => (k.wrapping_mul(0x9e37) as u16).to_le_bytes().to_vec(),
        _ => {
            let i = INTS[k % INTS.len()].wrapping_add((k / 16) as i64);
            i.to_le_bytes()[..dtype.bytes()].to_vec()
        }
    }
}

fn tensor(dtype: DType, shape: Vec<usize>, salt: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let data: Vec<u8> = (0..count)
        .flat_map(|k| bytes_of(dtype, k * 7 + salt))
        .collect();
    Tensor::new(dtype, shape, data.into()).unwrap()
}

fn check(k: &Kernel, args: &[Tensor]) {
    let want = run_kernel(k, &[], args).unwrap();
    let wider = targets();
    let older = Target::named("x86-64-v2").unwrap();
    let features = &Target::host().features;
    let runs = older.features.iter().all(|f| features.contains(f));
    for target in wider.into_iter().chain(runs.then_some(older)) {
        let code = JitCode::compile(&plan_of(k.clone()), &target).unwrap();
        let (stats, wide) = (code.stats[0], usize::from(target.wide.is_some()));
        let found = (
            stats.wide_tiles,
            stats.narrow_tiles + stats.scalarised_loops,
        );
        assert_eq!(found, (wide, 0), "{stats:?}\n{k}");
        for edge in [Edge::End, Edge::Begin, Edge::Past(4)] {
            let got = run_for(&target, k, &[], args, 1, edge).unwrap();
            let fail = |e| panic!("{} {:?}: {e}\n{k}", target.name, target.wide);
            same(&want, &got).unwrap_or_else(fail);
        }
    }
}

fn copy(from: DType, to: DType, load: &str, columns: usize) -> Kernel {
    let value = match from == to {
        true => load.to_string(),
        false => format!("{to}({load})"),
    };
    kernel(&format!(
        "kernel copy() {{
           in a0: {from}[{ROWS}, {columns}] out o1: {to}[{ROWS}, {COLUMNS}]
           for i0 < {ROWS} space parallel {{
             for i1 < {COLUMNS} space vector {{ o1[i0, i1] = {value} }}
           }}
         }}"
    ))
}

#[test]
fn conversions_of_all_types() {
    let words = [DType::F32, DType::I32, DType::U32];
    let all = || {
        let narrow = SHORT.into_iter().chain(HALVES);
        narrow.chain(words).chain([DType::Bool])
    };
    for (from, to) in all().flat_map(|from| all().map(move |to| (from, to))) {
        // No lane converts between these.
        let word = |d: DType| d.is_int() && d.bytes() == 4;
        let apart = match (from, to) {
            (DType::F32, DType::U32) | (DType::U32, DType::F32) => true,
            _ => word(from) && to.is_half() || from.is_half() && to == DType::U32,
        };
        if apart {
            continue;
        }
        let args = [tensor(from, vec![ROWS, COLUMNS], 3)];
        check(&copy(from, to, "a0[i0, i1]", COLUMNS), &args);
    }
}

#[test]
fn elements_that_lie_apart() {
    for d in SHORT.into_iter().chain(HALVES).chain([DType::Bool]) {
        let args = [tensor(d, vec![ROWS, 2 * COLUMNS], 1)];
        let word = if d.is_half() { DType::F32 } else { DType::I32 };
        check(&copy(d, word, "a0[i0, 2*i1]", 2 * COLUMNS), &args);
        check(&copy(d, d, "a0[i0, -2*i1 + 87]", 2 * COLUMNS), &args);
        check(&copy(d, d, "a0[i0, 3]", 2 * COLUMNS), &args);
        let apart = kernel(&format!(
            "kernel apart() {{
               in a0: {d}[{ROWS}, {COLUMNS}] out o1: {d}[{ROWS}, {COLUMNS}, 2]
               for i0 < {ROWS} space parallel {{
                 for i1 < {COLUMNS} space vector {{
                   o1[i0, i1, 0] = a0[i0, i1]
                   o1[i0, i1, 1] = a0[i0, i1]
                 }}
               }}
             }}"
        ));
        check(&apart, &[tensor(d, vec![ROWS, COLUMNS], 2)]);
    }
}

#[test]
fn comparisons_and_choices() {
    for d in SHORT {
        for op in ["<", "<=", "==", "!="] {
            let k = kernel(&format!(
                "kernel choice() {{
                   in a0: {d}[{ROWS}, {COLUMNS}] in b1: {d}[{ROWS}, {COLUMNS}]
                   out o2: {d}[{ROWS}, {COLUMNS}] out o3: bool[{ROWS}, {COLUMNS}]
                   reg r4: bool[] reg r5: {d}[]
                   for i0 < {ROWS} space parallel {{
                     for i1 < {COLUMNS} space vector {{
                       r4 = a0[i0, i1] {op} b1[i0, i1]
                       r5 = select(r4, b1[i0, i1], 100{d})
                       o2[i0, i1] = r5
                       o3[i0, i1] = not(r4)
                     }}
                   }}
                 }}"
            ));
            let shape = vec![ROWS, COLUMNS];
            check(&k, &[tensor(d, shape.clone(), 0), tensor(d, shape, 5)]);
        }
    }
}

/// The extreme of each lane over rows, and of each row over its lanes.
#[test]
fn extremes() {
    for d in SHORT {
        for (op, start) in [
            ("max", d.int_range().unwrap().0),
            ("min", d.int_range().unwrap().1),
        ] {
            let down = kernel(&format!(
                "kernel down() {{
                   in a0: {d}[{ROWS}, {COLUMNS}] out o1: {d}[{COLUMNS}] reg r2: {d}[]
                   for i0 < {COLUMNS} space vector {{
                     r2 = {start}{d}
                     for i1 < {ROWS} reduce {{ r2 = {op}(r2, a0[i1, i0]) }}
                     o1[i0] = r2
                   }}
                 }}"
            ));
            let across = kernel(&format!(
                "kernel across() {{
                   in a0: {d}[{ROWS}, {COLUMNS}] out o1: {d}[{ROWS}] reg r2: {d}[]
                   for i0 < {ROWS} space {{
                     r2 = {start}{d}
                     for i1 < {COLUMNS} reduce vector {{ r2 = {op}(r2, a0[i0, i1]) }}
                     o1[i0] = r2
                   }}
                 }}"
            ));
            for salt in [0, 9] {
                let args = [tensor(d, vec![ROWS, COLUMNS], salt)];
                check(&down, &args);
                check(&across, &args);
            }
        }
    }
}

//! Random sums of products of bytes of any signs, axes, tails and epilogues, as dot products in
//! wide tiles of 256 and of 512 bits beside unmapped pages, against the loop interpreter, bit by bit.
mod support;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use support::seeds::seeds;
use support::{Edge, kernel, plan_of, run_for, same, targets};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::interp::{Program, run_kernel};
use tensmith_ir::loops::{BufferId, Kernel, Scope};
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_passes::schedule::{Target as ScheduleTarget, default_schedule};

/// The seeds, one kernel each, at each width.
const SEEDS: std::ops::Range<u64> = 0..250;

/// Products of one kernel: more take the interpreter too long.
const PRODUCTS: usize = 60_000;

/// What a kernel computes.
#[derive(Debug)]
struct Sums {
    batch: usize,
    rows: usize,
    columns: usize,
    /// Terms that lie apart in the first factor, and terms that lie side by side.
    depth: [usize; 2],
    types: [&'static str; 2],
    /// Whether the second factor lies column by column.
    turned: bool,
    epilogue: usize,
}

impl Sums {
    fn draw(rng: &mut StdRng) -> Sums {
        loop {
            let types = [["u8", "i8"], ["i8", "u8"]];
            let s = Sums {
                batch: *[1, 1, 3].choose(rng).unwrap(),
                rows: rng.random_range(1..=19),
                columns: *[5, 8, 16, 17, 31, 48, 64, 70, 100, 130]
                    .choose(rng)
                    .unwrap(),
                depth: [
                    *[1, 1, 3].choose(rng).unwrap(),
                    *[4, 5, 6, 7, 8, 16, 19, 33, 50, 64, 127]
                        .choose(rng)
                        .unwrap(),
                ],
                types: *types.choose(rng).unwrap(),
                turned: rng.random_bool(0.5),
                epilogue: rng.random_range(0..5),
            };
            let all = [s.batch, s.rows, s.columns, s.depth[0], s.depth[1]];
            if all.iter().product::<usize>() <= PRODUCTS {
                return s;
            }
        }
    }

    fn kernel(&self) -> Kernel {
        let Sums {
            batch,
            rows,
            columns,
            depth: [far, near],
            types: [x, y],
            ..
        } = self;
        let (weights, weight) = match self.turned {
            true => (format!("{columns}, {far}, {near}"), "i2, i3, i4"),
            false => (format!("{far}, {near}, {columns}"), "i3, i4, i2"),
        };
        let scaled = "f32(r5) * c3[i2]";
        let quantised = |least: &str, most: &str| {
            format!(
                "r7 = round({scaled} * 0.03125f32) + 3.0f32\nr6 = min(max(r7, {least}f32), {most}f32)"
            )
        };
        let (result, steps, value) = match self.epilogue {
            0 => ("i32", String::new(), "r5".to_string()),
            1 => ("i32", String::new(), "r5 - d4[i2]".to_string()),
            2 => ("f32", format!("r6 = {scaled}"), "max(r6, 0.0f32)".into()),
            3 => ("u8", quantised("0.0", "255.0"), "u8(r6)".into()),
            _ => ("i8", quantised("-128.0", "127.0"), "i8(r6)".into()),
        };
        kernel(&format!(
            "kernel sums() {{
               in a1: {x}[{batch}, {rows}, {far}, {near}] in b2: {y}[{weights}]
               in c3: f32[{columns}] in d4: i32[{columns}] out o0: {result}[{batch}, {rows}, {columns}]
               reg r5: i32[] reg r6: f32[] reg r7: f32[]
               for i0 < {batch} space {{ for i1 < {rows} space {{ for i2 < {columns} space {{
                 r5 = 0i32
                 for i3 < {far} reduce {{ for i4 < {near} reduce {{
                   r5 = r5 + i32(a1[i0, i1, i3, i4]) * i32(b2[{weight}])
                 }} }}
                 {steps}
                 o0[i0, i1, i2] = {value}
               }} }} }}
             }}"
        ))
    }
}

/// Random values for the inputs of a kernel, as they lie in memory: bytes of all values.
fn arguments(kernel: &Kernel, rng: &mut StdRng) -> Vec<Tensor> {
    let shapes = Program::new(kernel, &[]).unwrap().physical_shapes();
    let params = kernel.params().zip(shapes);
    params
        .filter(|((_, b), _)| b.scope == Scope::Input)
        .map(|((_, b), shape)| {
            let count = shape.iter().product::<usize>();
            let mut any = || match b.dtype.int_range() {
                Some(_) if b.dtype == DType::I32 => rng.random_range(-1000..1000),
                Some((least, most)) => match rng.random_range(0..4) {
                    0 => *[least, most].choose(rng).unwrap() as i64,
                    _ => rng.random_range(least as i64..=most as i64),
                },
                None => 0,
            };
            let values: Vec<i128> = (0..count).map(|_| any().into()).collect();
            if b.dtype.int_range().is_some() {
                return Tensor::from_wide(b.dtype, shape, &Wide::Int(values));
            }
            let scales: Vec<f32> = (0..count).map(|_| rng.random_range(0.001..0.1)).collect();
            Tensor::from_f32(shape, &scales)
        })
        .collect()
}

/// Compiles the kernel for a target and holds it to the interpreter; gives the dot products of its
/// code.
fn dots(naive: &Kernel, target: &Target, rng: &mut StdRng) -> Result<u32, String> {
    let machine = ScheduleTarget {
        fma: true,
        dots: target.has_dots(),
        vector_bytes: target.vector_bytes(),
        threads: 2,
        ..ScheduleTarget::default()
    };
    let weights = BufferId(1);
    let k = default_schedule(naive.clone(), &machine, &|b| b == weights).kernel;
    let args = arguments(&k, rng);
    let want = run_kernel(&k, &[], &args).map_err(|e| format!("{e}\n{k}"))?;
    for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
        let got = run_for(target, &k, &[], &args, threads, edge).map_err(|e| e.to_string())?;
        same(&want, &got).map_err(|e| format!("{:?}: {e}\n{k}", target.wide))?;
    }
    let code = JitCode::compile(&plan_of(k), target).map_err(|e| e.to_string())?;
    Ok(code.stats[0].dots)
}

#[test]
fn sums_of_products_of_bytes() {
    for target in targets() {
        let (mut found, mut all) = (0, 0);
        for seed in seeds(SEEDS) {
            let mut rng = StdRng::seed_from_u64(seed);
            let sums = Sums::draw(&mut rng);
            let dots = dots(&sums.kernel(), &target, &mut rng);
            let dots = dots.unwrap_or_else(|e| panic!("seed {seed}, {sums:?}: {e}"));
            if target.has_dots() && dots == 0 {
                println!("seed {seed}: no dot products for {sums:?}");
            }
            (found, all) = (found + u64::from(dots > 0), all + 1);
        }
        println!("{:?}: {found} of {all} with dot products", target.wide);
        match target.has_dots() {
            true => assert_eq!(found, all),
            false => assert_eq!(found, 0),
        }
    }
}

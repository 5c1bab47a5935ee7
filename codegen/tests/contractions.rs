//! Random contractions of any batch, row, column and depth axes, with epilogues and tails, as wide
//! tiles of 256 and of 512 bits beside unmapped pages, against the loop interpreter.
mod support;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use support::seeds::seeds;
use support::{Edge, plan_of, run_for};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::loops::interp::{Program, run_kernel};
use tensmith_ir::loops::{Kernel, Mark, Role, Scope, Stmt, parse_kernel, verify_kernel};
use tensmith_ir::tensor::Tensor;
use tensmith_passes::schedule::{Target as ScheduleTarget, default_schedule};

/// The seeds, one contraction each, at each width.
const SEEDS: std::ops::Range<u64> = 0..330;

/// Of so many contractions or more, most must run as wide tiles.
const MANY: u64 = 100;

/// Products of one contraction: more take the interpreter too long.
const PRODUCTS: usize = 60_000;

/// Shorter sums are no contractions to the schedules.
const TERMS: usize = 4;

/// A loop of a contraction.
#[derive(Clone, Debug)]
struct Axis {
    var: String,
    extent: usize,
}

/// The axes of a contraction by what mentions them.
struct Axes {
    batch: Vec<Axis>,
    rows: Vec<Axis>,
    columns: Vec<Axis>,
    depth: Vec<Axis>,
}

impl Axes {
    /// Up to two axes of each kind. Some column axis is longer than a 128-bit vector, and sums have
    /// the terms that the recipe of contractions asks for.
    fn draw(rng: &mut StdRng) -> Self {
        loop {
            let mut vars = 0;
            let mut some = |rng: &mut StdRng, least: usize, most: usize| -> Vec<Axis> {
                let count = rng.random_range(least..=most);
                (0..count)
                    .map(|_| {
                        let greatest = *[3, 9, 20, 70].choose(rng).unwrap();
                        vars += 1;
                        Axis {
                            var: format!("i{vars}"),
                            extent: rng.random_range(1..=greatest),
                        }
                    })
                    .collect()
            };
            let axes = Axes {
                batch: some(rng, 0, 2),
                rows: some(rng, 0, 2),
                columns: some(rng, 1, 2),
                depth: some(rng, 1, 2),
            };
            let products: usize = axes.all().iter().map(|a| a.extent).product();
            let long = axes.columns.iter().any(|a| a.extent > 4);
            let depth: usize = axes.depth.iter().map(|a| a.extent).product();
            if long && depth >= TERMS && products <= PRODUCTS {
                return axes;
            }
        }
    }

    fn all(&self) -> Vec<Axis> {
        [&self.batch[..], &self.rows, &self.columns, &self.depth].concat()
    }

    /// The axes of an operand in any order.
    fn operand(&self, parts: &[&[Axis]], rng: &mut StdRng) -> Vec<Axis> {
        let mut axes = parts.concat();
        axes.shuffle(rng);
        axes
    }
}

fn shape(axes: &[Axis]) -> String {
    let extents: Vec<String> = axes.iter().map(|a| a.extent.to_string()).collect();
    extents.join(", ")
}

fn index(axes: &[Axis]) -> String {
    let vars: Vec<&str> = axes.iter().map(|a| a.var.as_str()).collect();
    vars.join(", ")
}

/// The axes with other variables.
fn again(axes: &[Axis]) -> Vec<Axis> {
    let renamed = |a: &Axis| Axis {
        var: format!("{}0", a.var),
        ..a.clone()
    };
    axes.iter().map(renamed).collect()
}

/// Loops over axes around a body.
fn nest(axes: &[Axis], role: &str, body: &str) -> String {
    axes.iter().rev().fold(body.to_owned(), |inner, a| {
        format!("for {} < {} {role} {{\n{inner}\n}}", a.var, a.extent)
    })
}

/// One step of an epilogue on the value `x`.
fn epilogue(rng: &mut StdRng, x: &str, columns: &str, result: &str) -> String {
    let steps = [
        format!("{x} + c3[{columns}]"),
        format!("{x} * c3[{columns}] + 0.5f32"),
        format!("{x} + d4[{result}]"),
        format!("max({x}, 0.0f32)"),
        format!("min(max({x}, -1.0f32), 6.0f32)"),
        format!("{x} * 0.125f32"),
        format!("tanh({x})"),
        format!("sigmoid({x})"),
        format!("{x} * sigmoid({x})"),
        format!("exp(min({x}, 20.0f32))"),
        format!("({x} * 0.5f32) * (erf({x} * 0.70710677f32) + 1.0f32)"),
    ];
    steps.choose(rng).unwrap().clone()
}

/// A contraction with a random epilogue, and in some cases the greatest value of each row.
fn contraction(rng: &mut StdRng) -> Kernel {
    let axes = Axes::draw(rng);
    let a = axes.operand(&[&axes.batch, &axes.rows, &axes.depth], rng);
    let b = axes.operand(&[&axes.batch, &axes.columns, &axes.depth], rng);
    let result = axes.operand(&[&axes.batch, &axes.rows, &axes.columns], rng);
    let outer = [&axes.batch[..], &axes.rows].concat();
    let (columns, element) = (index(&axes.columns), index(&result));
    let mut body = format!(
        "r5 = 0.0f32\n{}",
        nest(
            &axes.depth,
            "reduce",
            &format!("r5 = r5 + a1[{}] * b2[{}]", index(&a), index(&b))
        )
    );
    let steps = rng.random_range(0..=3);
    for k in 0..steps {
        let value = epilogue(rng, &format!("r{}", 5 + k), &columns, &element);
        body += &format!("\nr{} = {value}", 6 + k);
    }
    body += &format!("\no0[{element}] = r{}", 5 + steps);
    let mut nests = nest(&[&outer[..], &axes.columns].concat(), "space", &body);
    let reduced = !outer.is_empty() && rng.random_bool(0.25);
    let mut more = String::new();
    if reduced {
        more = format!("out e9: f32[{}] reg r10: f32[]", shape(&outer));
        let [outer, columns, result] = [&outer, &axes.columns, &result].map(|a| again(a));
        let term = format!("r10 = max(r10, o0[{}])", index(&result));
        let term = nest(&columns, "reduce", &term);
        let row = format!("r10 = -inf_f32\n{term}\ne9[{}] = r10", index(&outer));
        nests += &format!("\n{}", nest(&outer, "space", &row));
    }
    let text = format!(
        "kernel contraction() {{
           out o0: f32[{}] in a1: f32[{}] in b2: f32[{}] in c3: f32[{}] in d4: f32[{}]
           reg r5: f32[] reg r6: f32[] reg r7: f32[] reg r8: f32[] {more}
           {nests}
         }}",
        shape(&result),
        shape(&a),
        shape(&b),
        shape(&axes.columns),
        shape(&result),
    );
    let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_kernel(&kernel).unwrap_or_else(|e| panic!("{e}\n{text}"));
    kernel
}

/// Random values for the inputs of a kernel, as they lie in memory.
fn arguments(kernel: &Kernel, rng: &mut StdRng) -> Vec<Tensor> {
    let shapes = Program::new(kernel, &[]).unwrap().physical_shapes();
    let params = kernel.params().zip(shapes);
    params
        .filter(|((_, b), _)| b.scope == Scope::Input)
        .map(|(_, shape)| {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
            Tensor::from_f32(shape, &values)
        })
        .collect()
}

/// What the loops of a scheduled kernel are like.
#[derive(Default)]
struct Loops {
    /// Some vector loop is no whole 128-bit vector.
    wide: bool,
    /// Lanes are joined: by halves in machine code, one by one in the interpreter.
    joins: bool,
}

impl Loops {
    fn visit(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            if let Stmt::For(l) = stmt
                && l.mark == Mark::Vector
            {
                self.wide |= l.extent.as_const() != Some(4);
                self.joins |= l.role == Role::Reduce;
            }
            stmt.bodies().into_iter().for_each(|b| self.visit(b));
        }
    }
}

/// The same bits; sums over lanes within the rounding of their terms.
fn compare(want: &[Tensor], got: &[Tensor], joins: bool) -> Result<(), String> {
    for (k, (w, g)) in want.iter().zip(got).enumerate() {
        let (w, g) = (w.to_f64(), g.to_f64());
        let limit = if joins { 1e-4 } else { 0.0 };
        let near = |x: f64, y: f64| {
            let same = x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
            same || (x - y).abs() < limit * x.abs().max(1.0)
        };
        if let Some(at) = w.iter().zip(&g).position(|(x, y)| !near(*x, *y)) {
            return Err(format!(
                "result {k}, element {at}: want {:e}, got {:e}",
                w[at], g[at]
            ));
        }
    }
    Ok(())
}

/// Whether a kernel is large enough for wide vectors; it is held to the interpreter in any case.
fn check(naive: &Kernel, machine: &Target, rng: &mut StdRng) -> Result<bool, String> {
    let target = ScheduleTarget {
        fma: true,
        vector_bytes: machine.vector_bytes(),
        reassociate: true,
        threads: 2,
        ..ScheduleTarget::default()
    };
    let packs = rng.random_bool(0.5);
    let weights = naive.params().nth(2).map(|(id, _)| id);
    let kernel = default_schedule(naive.clone(), &target, &|b| packs && Some(b) == weights).kernel;
    let mut loops = Loops::default();
    loops.visit(&kernel.body);
    let code = JitCode::compile(&plan_of(kernel.clone()), machine).map_err(|e| e.to_string())?;
    let found = code.stats[0];
    if found.narrow_tiles + found.scalarised_loops > 0 || loops.wide != (found.wide_tiles > 0) {
        return Err(format!("{found:?}\n{kernel}"));
    }
    let args = arguments(&kernel, rng);
    let want = run_kernel(&kernel, &[], &args).map_err(|e| e.to_string())?;
    for (threads, edge) in [(1, Edge::End), (2, Edge::Begin)] {
        let got = run_for(machine, &kernel, &[], &args, threads, edge);
        let got = got.map_err(|e| e.to_string())?;
        compare(&want, &got, loops.joins).map_err(|e| format!("{e}\n{kernel}"))?;
    }
    Ok(loops.wide)
}

fn contractions(name: &str) {
    let machine = Target::named(name).unwrap();
    let host = Target::host();
    if !machine.features.iter().all(|f| host.features.contains(f)) {
        eprintln!("skipped: this machine is no {name}");
        return;
    }
    let seeds = seeds(SEEDS);
    let count = seeds.end - seeds.start;
    let mut wide = 0;
    for seed in seeds {
        let mut rng = StdRng::seed_from_u64(seed);
        let naive = contraction(&mut rng);
        let found = check(&naive, &machine, &mut rng);
        wide += u64::from(found.unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}\n{naive}")));
    }
    println!("{name}: {wide} contractions of {count} are wide");
    // Schedules give no vectors to nests whose columns they find too few.
    assert!(
        count < MANY || (count - wide) * 6 <= count,
        "{wide} of {count} are wide"
    );
}

#[test]
fn of_256_bits() {
    contractions("x86-64-v3");
}

#[test]
fn of_512_bits() {
    contractions("x86-64-v4");
}

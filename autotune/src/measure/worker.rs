//! The worker: a process of its own that compiles, checks and times candidates, so that none of
//! them can harm the tuner.
//!
//! It may use so much memory and no more, writes no file, and ends with the process that started
//! it.
use super::protocol::{
    CompareRequest, Failed, Failure, Fault, Reply, Request, Samples, TaskRequest,
};
use super::rig::{Rig, Tensors};
use crate::target::schedule_target;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::tensor::Tensor;
use tensmith_passes::schedule::Target as ScheduleTarget;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Task;
use tensmith_runtime::{AlignedBytes, Pool};

/// Units: bytes of address space that a worker may have.
const MEMORY: u64 = 6 << 30;
/// Units: nanoseconds of a sample at least, so that reading the clock does not count.
const SAMPLE_NS: u64 = 200_000;
/// Units: nanoseconds of all samples of a member after which no further pair is taken.
const ENOUGH_NS: u64 = 200_000_000;
/// Pairs after which a candidate may be given up.
const FIRST_PAIRS: usize = 3;
/// Compiled members that are kept, besides the default: a batch and the incumbent.
const KEPT: usize = 9;

/// Answers requests until there are no more.
///
/// Errors: a line that is no request; a pipe that breaks.
pub fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    confine()?;
    let mut bench: Option<Bench> = None;
    for line in input.lines() {
        let request = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let reply = match request {
            Request::Task(request) => Bench::new(&request).map(|made| {
                bench = Some(made);
                Reply::Ready
            }),
            Request::Compare(request) => match &mut bench {
                Some(bench) => bench.compare(&request).map(Reply::Samples),
                None => Err(Failed::new(Failure::Rejected, "there is no task yet")),
            },
        };
        let reply = reply.unwrap_or_else(Reply::Failed);
        serde_json::to_writer(&mut output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn confine() -> io::Result<()> {
    let limit = |bytes| Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    setrlimit(Resource::As, limit(MEMORY))?;
    setrlimit(Resource::Fsize, limit(0))?;
    setrlimit(Resource::Core, limit(0))?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// A task, and the members that were compiled.
struct Bench {
    task: Task,
    target: Target,
    schedule: ScheduleTarget,
    pool: Pool,
    /// The results of the untuned kernel.
    reference: Vec<Tensor>,
    /// Compiled members by their values, the default by the empty text.
    rigs: HashMap<String, Rig>,
    /// The order in which members came.
    order: Vec<String>,
    tensors: Tensors,
}

impl Bench {
    fn new(request: &TaskRequest) -> Result<Bench, Failed> {
        let rejected = |e: String| Failed::new(Failure::Rejected, e);
        let task = request.read().map_err(rejected)?;
        if !task.naive.sizes.is_empty() {
            return Err(rejected(
                "sizes of the kernel are known at run time only".into(),
            ));
        }
        let target = Target::named(&request.target).map_err(|e| rejected(e.to_string()))?;
        let schedule = schedule_target(&target, request.threads, request.reassociate);
        let pool = Pool::new(request.threads).map_err(|e| rejected(e.to_string()))?;
        let mut bench = Bench {
            task,
            target,
            schedule,
            pool,
            reference: vec![],
            rigs: HashMap::new(),
            order: vec![],
            tensors: Tensors::default(),
        };
        let mut rig = bench.compile("")?;
        rig.run(&bench.pool, 1).map_err(rejected)?;
        bench.reference = rig.outputs().collect();
        bench.rigs.insert(String::new(), rig);
        Ok(bench)
    }

    fn compile(&mut self, values: &str) -> Result<Rig, Failed> {
        let rejected = |e: String| Failed::new(Failure::Rejected, e);
        let values: Values = values.parse().map_err(rejected)?;
        let member = self.task.member(&self.schedule, values);
        let member = member.map_err(|e| rejected(e.to_string()))?;
        let machine = (&self.target, self.pool.threads());
        let packable = &self.task.packable;
        let rig = Rig::new(&member.kernel, packable, machine, &mut self.tensors);
        rig.map_err(|e| match e.contains("memory") {
            true => Failed::new(Failure::Memory, e),
            false => rejected(e),
        })
    }

    /// Compiles a member and checks its results.
    fn checked(&mut self, values: &str, fault: Option<Fault>) -> Result<Rig, Failed> {
        let mut rig = self.compile(values)?;
        let ran = rig.run(&self.pool, 1);
        ran.map_err(|e| Failed::new(Failure::WrongResult, e))?;
        let mut found: Vec<Tensor> = rig.outputs().collect();
        if let Some(fault) = fault {
            commit(fault, &mut found)?;
        }
        check(&self.reference, &found)?;
        Ok(rig)
    }

    /// Compiles a member if it is not there.
    fn ready(&mut self, values: &str) -> Result<(), Failed> {
        if !self.rigs.contains_key(values) {
            let rig = self.checked(values, None)?;
            self.keep(values, rig);
        }
        Ok(())
    }

    /// Keeps a compiled member, and the default always.
    fn keep(&mut self, values: &str, rig: Rig) {
        if !values.is_empty() {
            self.order.retain(|v| v != values);
            self.order.push(values.into());
        }
        if self.order.len() > KEPT {
            self.rigs.remove(&self.order.remove(0));
        }
        self.rigs.insert(values.into(), rig);
    }

    fn compare(&mut self, request: &CompareRequest) -> Result<Samples, Failed> {
        self.ready(&request.against)?;
        let apart = request.values != request.against;
        let kept = match apart && request.fault.is_none() {
            true => self.rigs.remove(&request.values),
            false => None,
        };
        let mut candidate = match kept {
            Some(rig) => rig,
            None => self.checked(&request.values, request.fault)?,
        };
        let against = self.rigs.get_mut(&request.against);
        let against = against.expect("invariant: it was made ready, and is not the candidate");
        let samples = sample(&mut candidate, against, &self.pool, request);
        if apart {
            self.keep(&request.values, candidate);
        }
        samples.map_err(|e| Failed::new(Failure::WrongResult, e))
    }
}

/// Interleaved samples of two members.
fn sample(
    candidate: &mut Rig,
    against: &mut Rig,
    pool: &Pool,
    request: &CompareRequest,
) -> Result<Samples, String> {
    let first = against.run(pool, 2)? / 2;
    let times = (SAMPLE_NS / first.max(1)).clamp(1, 10_000) as usize;
    let mut samples = Samples::default();
    let mut spent = 0;
    for pair in 0..request.pairs {
        // The one that comes second finds caches as the other left them: turns change.
        let one = |rig: &mut Rig| rig.run(pool, times).map(|ns| ns as f64 / times as f64);
        let (a, b) = if pair % 2 == 0 {
            let a = one(candidate)?;
            (a, one(against)?)
        } else {
            let b = one(against)?;
            (one(candidate)?, b)
        };
        samples.candidate.push(a);
        samples.against.push(b);
        spent += (a * times as f64) as u64;
        let least = |list: &[f64]| list.iter().copied().fold(f64::INFINITY, f64::min);
        let hopeless = least(&samples.candidate) > request.give_up * least(&samples.against);
        if pair + 1 >= FIRST_PAIRS && (hopeless || spent > ENOUGH_NS) {
            break;
        }
    }
    Ok(samples)
}

/// Compares results with those of the untuned kernel.
fn check(want: &[Tensor], found: &[Tensor]) -> Result<(), Failed> {
    for (output, (want, found)) in want.iter().zip(found).enumerate() {
        if want.data == found.data {
            continue;
        }
        let tolerance = match want.dtype {
            DType::F16 | DType::BF16 => 2e-2,
            // Sums in another order.
            dtype if dtype.is_float() => 1e-4,
            _ => 0.0,
        };
        let (a, b) = (want.to_f64(), found.to_f64());
        let finite = a.iter().filter(|x| x.is_finite());
        let bound = tolerance * finite.fold(0.0_f64, |m, x| m.max(x.abs()));
        let same = |x: f64, y: f64| x == y || (x - y).abs() <= bound || x.is_nan() && y.is_nan();
        let differs = a.iter().zip(&b).position(|(x, y)| !same(*x, *y));
        if let Some(at) = differs {
            let why = format!(
                "output {output}, element {at}: {}, untuned {}",
                b[at], a[at]
            );
            return Err(Failed::new(Failure::WrongResult, why));
        }
    }
    Ok(())
}

/// Lets something go wrong.
fn commit(fault: Fault, results: &mut [Tensor]) -> Result<(), Failed> {
    let mut put = |value: f64| {
        for tensor in results.iter_mut().take(1) {
            let mut values = tensor.to_f64();
            if let Some(first) = values.first_mut() {
                *first = value;
            }
            let wide = tensmith_ir::tensor::Wide::Float(values);
            *tensor = Tensor::from_wide(DType::F64, tensor.shape.clone(), &wide);
        }
    };
    match fault {
        Fault::Hang => loop {
            std::thread::park();
        },
        Fault::Segfault => {
            // SAFETY: none; that is what is asked for. The address is never mapped.
            unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
        }
        Fault::Abort => std::process::abort(),
        Fault::Allocate => {
            let mut all = Vec::new();
            loop {
                match AlignedBytes::zeroed(256 << 20) {
                    Ok(more) => all.push(more),
                    Err(e) => return Err(Failed::new(Failure::Memory, e.to_string())),
                }
            }
        }
        Fault::WrongResult => put(1e30),
        Fault::Nan => put(f64::NAN),
    }
    Ok(())
}

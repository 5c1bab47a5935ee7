//! What a contest measured and who proposed what, as lines of JSON that are only ever appended.
use super::{Entrant, Side};
use crate::cost::Setting;
use crate::search::log::LogError;
use crate::target::schedule_target;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use tensmith_codegen::target::Target;
use tensmith_ir::eval::Sizes;
use tensmith_ir::machine::{Machine, Rates};
use tensmith_passes::cost::Analytic;
use tensmith_passes::schedule::Target as ScheduleTarget;

/// The version of the form of the lines.
const FORMAT: u32 = 1;

/// What spaces know of the machine that was measured: with it, they are the same on any other one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Threads of a kernel.
    pub threads: usize,
    /// Units: bytes of a vector register.
    pub vector_bytes: usize,
    /// Whether multiply-adds are one instruction.
    pub fma: bool,
    /// Whether four products of bytes and their sum are one instruction.
    #[serde(default)]
    pub dots: bool,
    /// Units: bytes of the caches, from the first level to the third.
    pub cache_bytes: [usize; 3],
    /// The rates of a core, in the order in which `Rates` has them.
    pub rates: [f64; 8],
}

impl Host {
    /// This machine, with so many threads.
    pub fn here(threads: usize) -> Host {
        let target = Target::host();
        let schedule = schedule_target(&target, threads, true);
        let Machine {
            l1_bytes,
            l2_bytes,
            l3_bytes,
            rates: r,
        } = target.machine;
        Host {
            threads,
            vector_bytes: schedule.vector_bytes,
            fma: schedule.fma,
            dots: schedule.dots,
            cache_bytes: [l1_bytes, l2_bytes, l3_bytes],
            rates: [
                r.fmas,
                r.fmas_512,
                r.loads,
                r.loads_512,
                r.fma_latency,
                r.l2_bytes,
                r.l3_bytes,
                r.memory_bytes,
            ],
        }
    }

    fn machine(&self) -> Machine {
        let [l1_bytes, l2_bytes, l3_bytes] = self.cache_bytes;
        let [
            fmas,
            fmas_512,
            loads,
            loads_512,
            fma_latency,
            l2_rate,
            l3_rate,
            memory_bytes,
        ] = self.rates;
        let rates = Rates {
            fmas,
            fmas_512,
            loads,
            loads_512,
            fma_latency,
            l2_bytes: l2_rate,
            l3_bytes: l3_rate,
            memory_bytes,
        };
        Machine {
            l1_bytes,
            l2_bytes,
            l3_bytes,
            rates,
        }
    }

    pub(super) fn schedule_target(&self) -> ScheduleTarget {
        ScheduleTarget {
            vector_bytes: self.vector_bytes,
            fma: self.fma,
            dots: self.dots,
            reassociate: true,
            threads: self.threads,
            cost: Arc::new(Analytic {
                machine: self.machine(),
            }),
        }
    }

    pub(super) fn setting(&self) -> Setting {
        Setting {
            machine: self.machine(),
            vector_bytes: self.vector_bytes,
            threads: self.threads,
            sizes: Sizes::new(),
        }
    }
}

/// What a contest is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the form of the lines.
    pub format: u32,
    /// The version of the compiler.
    pub compiler: String,
    /// The kind of machine that was measured.
    pub machine: String,
    /// What spaces know of it.
    pub host: Host,
    /// Trials of each run.
    pub trials: usize,
}

impl Head {
    /// Of a contest on this machine.
    pub fn here(threads: usize, trials: usize) -> Head {
        Head {
            format: FORMAT,
            compiler: crate::COMPILER.into(),
            machine: crate::profile::machine_key(),
            host: Host::here(threads),
            trials,
        }
    }
}

/// The time of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The median ratio to the default beside it; `None`: it failed.
    pub ratio: Option<f64>,
    /// Pairs of samples.
    pub pairs: u32,
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Contest(Head),
    Task(Entrant),
    /// Task, identity, ratio, pairs.
    Time(usize, String, Option<f64>, u32),
    /// Task, side, seed, identities.
    Run(usize, Side, u64, Vec<String>),
}

/// A contest so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// What it is.
    pub head: Head,
    /// Its tasks.
    pub tasks: Vec<Entrant>,
    times: BTreeMap<(usize, u64), Timing>,
    runs: BTreeMap<(usize, Side, u64), Vec<u64>>,
}

impl Log {
    /// Of a contest that begins.
    pub fn new(head: Head) -> Log {
        Log {
            head,
            tasks: vec![],
            times: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }

    /// The time of a member, if it was measured.
    pub fn time(&self, task: usize, identity: u64) -> Option<Timing> {
        self.times.get(&(task, identity)).copied()
    }

    /// The ratio of the fastest member of a task that was measured.
    pub fn fastest(&self, task: usize) -> Option<f64> {
        let times = self.times.range((task, 0)..=(task, u64::MAX));
        times.filter_map(|(_, t)| t.ratio).reduce(f64::min)
    }

    /// Members that were measured, or failed.
    pub fn measured(&self) -> usize {
        self.times.len()
    }

    /// What a side proposed with a seed, if that was to the end.
    pub fn run(&self, task: usize, side: Side, seed: u64) -> Option<&[u64]> {
        self.runs.get(&(task, side, seed)).map(Vec::as_slice)
    }

    /// The seeds, from 0 on, with which both sides proposed for all tasks.
    pub fn seeds(&self) -> u64 {
        let is_done = |seed: &u64| {
            let mut all = (0..self.tasks.len()).flat_map(|t| Side::ALL.map(|s| (t, s)));
            !self.tasks.is_empty() && all.all(|(t, s)| self.runs.contains_key(&(t, s, *seed)))
        };
        (0..).take_while(is_done).count() as u64
    }

    /// Adds a task, and writes its line.
    ///
    /// Errors: of the writer.
    pub fn add_task(&mut self, task: Entrant, writer: &mut impl Write) -> io::Result<()> {
        self.tasks.push(task.clone());
        put(writer, &Line::Task(task))
    }

    /// Adds the time of a member, and writes its line.
    ///
    /// Errors: of the writer.
    pub fn add_time(
        &mut self,
        (task, identity): (usize, u64),
        timing: Timing,
        writer: &mut impl Write,
    ) -> io::Result<()> {
        self.times.insert((task, identity), timing);
        put(writer, &time_line(task, identity, timing))
    }

    /// Adds a run, and writes its line.
    ///
    /// Errors: of the writer.
    pub fn add_run(
        &mut self,
        (task, side, seed): (usize, Side, u64),
        proposed: Vec<u64>,
        writer: &mut impl Write,
    ) -> io::Result<()> {
        put(writer, &run_line((task, side, seed), &proposed))?;
        self.runs.insert((task, side, seed), proposed);
        Ok(())
    }

    /// Writes the first line.
    ///
    /// Errors: of the writer.
    pub fn write_head(&self, writer: &mut impl Write) -> io::Result<()> {
        put(writer, &Line::Contest(self.head.clone()))
    }

    /// Writes everything, sorted.
    ///
    /// Errors: of the writer.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        self.write_head(writer)?;
        let tasks = self.tasks.iter();
        tasks
            .cloned()
            .try_for_each(|task| put(writer, &Line::Task(task)))?;
        for ((task, id), timing) in &self.times {
            put(writer, &time_line(*task, *id, *timing))?;
        }
        let mut runs = self.runs.iter();
        runs.try_for_each(|(key, run)| put(writer, &run_line(*key, run)))
    }

    /// The log without what no complete seed needs.
    pub fn complete(&self) -> Log {
        let seeds = self.seeds();
        let runs = self.runs.iter().filter(|((_, _, seed), _)| *seed < seeds);
        let runs: BTreeMap<_, _> = runs.map(|(k, run)| (*k, run.clone())).collect();
        let needed: BTreeSet<(usize, u64)> = (runs.iter())
            .flat_map(|((task, ..), run)| run.iter().map(|id| (*task, *id)))
            .collect();
        let times = self.times.iter().filter(|(key, _)| needed.contains(key));
        Log {
            head: self.head.clone(),
            tasks: self.tasks.clone(),
            times: times.map(|(key, timing)| (*key, *timing)).collect(),
            runs,
        }
    }

    /// Reads lines. A last one without an end was cut off while it was written, and is left out.
    ///
    /// Errors: of the reader, and lines that are none of a log.
    pub fn read(mut reader: impl BufRead) -> Result<Log, LogError> {
        let mut log: Option<Log> = None;
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            if reader.read_line(&mut text)? == 0 || !text.ends_with('\n') {
                break;
            }
            let error = |reason: String| LogError::Line { line, reason };
            let read: Line = serde_json::from_str(&text).map_err(|e| error(e.to_string()))?;
            match (&mut log, read) {
                (None, Line::Contest(head)) if head.format == FORMAT => log = Some(Log::new(head)),
                (Some(log), read) => log.add(read).map_err(error)?,
                (None, _) => return Err(error("expected a contest of format 1".into())),
            }
        }
        log.ok_or(LogError::Line {
            line: 1,
            reason: "expected a contest".into(),
        })
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        let count = self.tasks.len();
        let known = |task: usize| match task < count {
            true => Ok(task),
            false => Err(format!("there is no task {task} yet")),
        };
        match line {
            Line::Contest(_) => return Err("a second contest".into()),
            Line::Task(task) => self.tasks.push(task),
            Line::Time(task, id, ratio, pairs) => {
                if ratio.is_some_and(|r| !(r > 0.0 && r.is_finite())) {
                    return Err("a ratio is a number above 0".into());
                }
                let key = (known(task)?, identity(&id)?);
                self.times.insert(key, Timing { ratio, pairs });
            }
            Line::Run(task, side, seed, proposed) => {
                let ids: Result<Vec<u64>, String> = proposed.iter().map(|p| identity(p)).collect();
                self.runs.insert((known(task)?, side, seed), ids?);
            }
        }
        Ok(())
    }
}

fn identity(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|e| format!("`{text}` is no identity: {e}"))
}

fn time_line(task: usize, identity: u64, timing: Timing) -> Line {
    Line::Time(task, format!("{identity:016x}"), timing.ratio, timing.pairs)
}

fn run_line((task, side, seed): (usize, Side, u64), proposed: &[u64]) -> Line {
    let ids = proposed.iter().map(|id| format!("{id:016x}"));
    Line::Run(task, side, seed, ids.collect())
}

fn put(writer: &mut impl Write, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    writer.write_all(text.as_bytes())
}

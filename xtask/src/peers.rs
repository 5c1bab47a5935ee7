//! `cargo xtask peers`: the same models and inputs on other engines, block by block in turns, and
//! the table of ratios.

mod environment;
mod memory;
mod report;
mod side;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::workspace::Workspace;
use crate::{models, process};
use environment::Environment;
use report::{Outcome, Row, Summary};
use side::Side;

/// The engines of `xtask/peers/engines.py`.
const ENGINES: [&str; 4] = ["onnxruntime", "openvino", "mnn", "ncnn"];

/// The models of `xtask/peers/kernels.py` but the one whose run is nothing but a call.
const KERNELS: [&str; 24] = [
    "matmul_512",
    "matmul_1024",
    "matmul_196x512x1024",
    "matmul_3136x64x576",
    "matmul_1x1024x1024",
    "conv3x3_64_56",
    "conv3x3_256_14",
    "conv1x1_256_28",
    "conv7x7_3_224",
    "depthwise_chain_32_112",
    "gelu_128x3072",
    "softmax_128x768",
    "layer_norm_128x384",
    "attention_64x3x49x32",
    "attention_1x8x256x64",
    "conv_transpose_64_32_56",
    "conv3x3_64_1_112",
    "conv1d_1_512_16000",
    "cumsum_1000x128",
    "max_pool5x5_256_20",
    "softmax_9408x49",
    "channels_last_64_112",
    "channels_last_3_224",
    "transpose_1024",
];

/// The model of `xtask/peers/kernels.py` that measures what a call costs.
const CALL: &str = "call";

/// Units: nanoseconds. An engine's call overhead is subtracted from latencies below this.
const SHORT_NS: f64 = 1e6;

/// Options of `cargo xtask peers`.
#[derive(Args)]
pub struct Options {
    /// Names of models or kernels; `models` or `kernels` for all of them; all models by default
    names: Vec<String>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Engines to compare with
    #[arg(long, value_delimiter = ',', default_values_t = ENGINES.map(String::from), value_parser = ENGINES)]
    engines: Vec<String>,
    /// Turns of all engines
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(15..=1000))]
    pairs: u32,
    /// Seconds of measurement of each engine on each model
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Compiles our models with what `tensmith tune` has found here; else untuned
    #[arg(long)]
    tuned: bool,
    /// Largest error of right outputs, over the largest reference magnitude
    #[arg(long, default_value_t = 1e-3)]
    tolerance: f64,
    /// The tensmith command to measure; built if it is not given
    #[arg(long, value_name = "PROGRAM")]
    tensmith: Option<PathBuf>,
    /// Compare the peak memory of one run on one thread instead of latencies; ours is that of a
    /// native file
    #[arg(long)]
    memory: bool,
    /// Print all figures as JSON
    #[arg(long)]
    json: bool,
}

/// A model file and the folder of its inputs and right outputs.
struct Subject {
    name: String,
    model: PathBuf,
    case: PathBuf,
}

/// Measure, and print the table. Fails if our outputs are wrong somewhere.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    ensure!(
        options.seconds.is_finite() && options.seconds > 0.0,
        "--seconds: expected a positive number"
    );
    let (wanted_models, wanted_kernels) = choose(&options.names)?;
    models::make(workspace, &wanted_models)?;
    let environment = Environment::ready(workspace)?;
    let tensmith = match &options.tensmith {
        Some(path) => path
            .canonicalize()
            .with_context(|| path.display().to_string())?,
        None => build(workspace)?,
    };
    let bench = Bench {
        options,
        environment,
        tensmith,
    };
    let mut subjects = Vec::new();
    subjects.extend(
        wanted_models
            .iter()
            .map(|name| Subject::model(workspace, name)),
    );
    subjects.extend(wanted_kernels.iter().map(|name| bench.kernel(name)));
    if options.memory {
        return memory::run(&bench, &subjects);
    }
    let mut rows = Vec::new();
    for threads in &options.threads {
        rows.extend(bench.rows(&subjects, *threads)?);
    }
    let summary = Summary::new(rows);
    if options.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        summary.print();
    }
    match summary.own_failures() {
        failures if failures.is_empty() => Ok(()),
        failures => bail!("tensmith is wrong or fails: {}", failures.join(", ")),
    }
}

/// The names of models and of kernels that are asked for.
fn choose(names: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let all = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    if names.is_empty() {
        return Ok((all(&models::NAMES), Vec::new()));
    }
    let (mut chosen_models, mut kernels) = (Vec::new(), Vec::new());
    for name in names {
        match name.as_str() {
            "models" => chosen_models.extend(all(&models::NAMES)),
            "kernels" => kernels.extend(all(&KERNELS)),
            n if models::NAMES.contains(&n) => chosen_models.push(name.clone()),
            n if KERNELS.contains(&n) => kernels.push(name.clone()),
            _ => bail!(
                "no model or kernel `{name}`; there are: {}, {}",
                models::NAMES.join(", "),
                KERNELS.join(", ")
            ),
        }
    }
    Ok((chosen_models, kernels))
}

/// Build the command and find it.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.current_dir(&workspace.root);
    command.args(["build", "--release", "--quiet", "--package", "tensmith"]);
    command.args(["--bin", "tensmith"]);
    process::run("build tensmith", &mut command)?;
    let metadata = Command::new(&cargo)
        .current_dir(&workspace.root)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("ask cargo for the folder of its products")?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let folder = metadata["target_directory"].as_str();
    let folder = folder.context("cargo names no folder of its products")?;
    Ok(Path::new(folder).join("release/tensmith"))
}

impl Subject {
    fn model(workspace: &Workspace, name: &str) -> Self {
        Subject {
            name: name.to_owned(),
            model: workspace.models.join(format!("{name}.onnx")),
            case: workspace.models.join(format!("cases/{name}/seed1")),
        }
    }
}

/// Everything that measurements need.
struct Bench<'a> {
    options: &'a Options,
    environment: Environment,
    tensmith: PathBuf,
}

/// Keeps this process, and the engines that it starts from now on, on as many cores as they have
/// threads: cores of one machine differ in speed when others use them, and each engine would stay
/// where it began. Where there are fewer cores, or the system refuses, nothing is kept.
fn share_cores(threads: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    static ALL: std::sync::OnceLock<Option<CpuSet>> = std::sync::OnceLock::new();
    let Some(all) = ALL.get_or_init(|| sched_getaffinity(None).ok()) else {
        return;
    };
    let usable = (0..CpuSet::MAX_CPU).filter(|k| all.is_set(*k));
    let mut kept = CpuSet::new();
    usable.take(threads).for_each(|k| kept.set(k));
    if let Err(e) = sched_setaffinity(None, &kept) {
        eprintln!("note: engines may run on cores of different speed: {e}");
    }
}

impl Bench<'_> {
    fn kernel(&self, name: &str) -> Subject {
        let folder = self.environment.kernels();
        Subject {
            name: name.to_owned(),
            model: folder.join(format!("{name}.onnx")),
            case: folder.join("cases").join(name),
        }
    }

    /// All subjects with one number of threads.
    fn rows(&self, subjects: &[Subject], threads: usize) -> Result<Vec<Row>> {
        share_cores(threads);
        eprintln!("calls, threads: {threads}");
        let calls = Row::new(CALL, threads, self.measure(&self.kernel(CALL), threads)?);
        let overheads: Vec<_> = calls.peers().map(Outcome::overhead).collect();
        let row = |subject: &Subject| {
            eprintln!("{}, threads: {threads}", subject.name);
            let mut outcomes = self.measure(subject, threads)?;
            for (outcome, overhead) in outcomes.iter_mut().skip(1).zip(&overheads) {
                outcome.subtract(*overhead, SHORT_NS);
            }
            Ok(Row::new(&subject.name, threads, outcomes))
        };
        subjects.iter().map(row).collect()
    }

    /// One subject on all engines, ours first.
    fn measure(&self, subject: &Subject, threads: usize) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::new("tensmith", self.start_own(subject, threads))];
        for engine in &self.options.engines {
            let side = self.start_engine(engine, subject, threads);
            outcomes.push(Outcome::new(engine, side));
        }
        for outcome in &mut outcomes {
            outcome.judge(self.options.tolerance);
        }
        let nanoseconds = self.options.seconds * 1e9 / f64::from(self.options.pairs);
        for _ in 0..self.options.pairs {
            for outcome in &mut outcomes {
                outcome.take_block(nanoseconds as u64);
            }
        }
        outcomes.iter_mut().for_each(Outcome::end);
        Ok(outcomes)
    }

    fn start_engine(&self, engine: &str, subject: &Subject, threads: usize) -> Result<Side> {
        let mut command = self.environment.worker();
        command.arg(engine).arg(&subject.model).arg(&subject.case);
        command.arg(threads.to_string());
        command.arg(self.environment.converted(engine, &subject.name));
        Side::start(&mut command)
    }

    /// Our own command, after its outputs have been compared with the right ones.
    fn start_own(&self, subject: &Subject, threads: usize) -> Result<Side> {
        let inputs = subject.case.join("inputs.npz");
        let own = |verb: &str| {
            let mut command = Command::new(&self.tensmith);
            command.arg(verb).arg(&subject.model);
            command.arg("--inputs").arg(&inputs);
            command.arg("--threads").arg(threads.to_string());
            if !self.options.tuned {
                command.arg("--no-records");
            }
            command
        };
        let outputs = self.environment.converted("tensmith", &subject.name);
        std::fs::create_dir_all(&outputs)?;
        let outputs = outputs.join("outputs.npz");
        let mut run = own("run");
        run.arg("-o").arg(&outputs);
        side::output(&mut run)?;
        let mut check = self.environment.worker();
        check.arg("--check").arg(&outputs).arg(&subject.case);
        let checked: side::Ready = serde_json::from_str(&side::output(&mut check)?)?;
        let mut bench = own("bench");
        bench.arg("--on-request");
        let mut side = Side::start(&mut bench)?;
        side.ready.error = checked.error;
        Ok(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> String {
        let path = Workspace::here().root.join("xtask/peers").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn kernels_are_those_of_the_script() {
        let text = script("kernels.py");
        let (_, table) = text.split_once("KERNELS = {\n").unwrap();
        let (table, _) = table.split_once("\n}").unwrap();
        let keys: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("    \"")?.split_once("\":"))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(keys[0], CALL);
        assert_eq!(keys[1..], KERNELS);
    }

    #[test]
    fn engines_are_those_of_the_script() {
        let text = script("engines.py");
        let (_, table) = text.split_once("ENGINES = {").unwrap();
        let (table, _) = table.split_once('}').unwrap();
        let keys: Vec<&str> = table
            .split(',')
            .filter_map(|entry| entry.trim().strip_prefix('"')?.split_once('"'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(keys, ENGINES);
    }

    #[test]
    fn names_are_models_kernels_or_groups() {
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            choose(&names).map(|(models, kernels)| (models.len(), kernels.len()))
        };
        assert_eq!(chosen(&[]).unwrap(), (models::NAMES.len(), 0));
        assert_eq!(chosen(&["kernels"]).unwrap(), (0, KERNELS.len()));
        assert_eq!(chosen(&["mlp", "matmul_512"]).unwrap(), (1, 1));
        assert!(chosen(&["call"]).is_err());
    }
}

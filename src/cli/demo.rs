//! `tensmith demo`
use crate::cli::out::{out, outln};
use clap::Args;
use std::collections::BTreeSet;
use tensmith::convert::to_ir;
use tensmith::files::{Named, read_npz_bytes};
use tensmith::{
    Error, Executable, KeepSymbolic, LoadOptions, Model, Options, Result, Tensor, TensorView,
    compile,
};
use tensmith_ir::plan::{Plan, run_plan};
use tensmith_runtime::Stopwatch;

const MODEL: &[u8] = include_bytes!("../../assets/digits.onnx");
const IMAGES: &[u8] = include_bytes!("../../assets/digits-heldout.npz");

/// Height and width of an image.
const SIDE: usize = 8;

/// The value of a black pixel in the file.
const BLACK: f32 = 16.0;

/// Characters from white to black.
const SHADES: &[char] = &[' ', '.', ':', '+', '#', '@'];

/// Read handwritten digits with the built-in model, and say how fast.
#[derive(Args)]
#[command(after_help = "Example:
  tensmith demo --threads 2")]
pub struct Demo {
    /// Threads of a run; one by default, since the model is small
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Held-out images, from 0 to 1, and what they show.
struct Digits {
    pixels: Vec<f32>,
    labels: Vec<u8>,
}

struct Figures {
    correct: usize,
    images: usize,
    compile_ms: f64,
    latency_us: f64,
    batch_us: f64,
    speedup: f64,
}

impl Demo {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let digits = Digits::read()?;
        let watch = Stopwatch::start();
        let model = Model::from_bytes(MODEL, &LoadOptions::default())?;
        let options = Options {
            symbolic: KeepSymbolic::Names(BTreeSet::from(["batch".to_string()])),
            threads: Some(self.threads),
            ..Options::default()
        };
        let imported = model.import(&options)?;
        let plan = compile::plan(&imported.graph, &options)?;
        let executable = compile::compile_plan(&plan, &options, Vec::new(), &imported.order)?;
        let compile_ms = watch.elapsed_ms();
        let read = digits.classify(&executable)?;
        if !self.json {
            digits.show(&read);
        }
        let latency_us = latency(&executable, &digits)? / 1e3;
        let hits = read.iter().zip(&digits.labels).filter(|(a, b)| a == b);
        let figures = Figures {
            correct: hits.count(),
            images: read.len(),
            compile_ms,
            latency_us,
            batch_us: batch_latency(&executable, &digits)? / 1e3,
            speedup: interpreter_ns(&plan, &digits)? / 1e3 / latency_us,
        };
        figures.print(self.json);
        Ok(())
    }
}

impl Figures {
    fn print(&self, json: bool) {
        let accuracy = 100.0 * self.correct as f64 / self.images as f64;
        if json {
            let report = serde_json::json!({
                "images": self.images,
                "correct": self.correct,
                "accuracy_percent": accuracy,
                "compile_ms": self.compile_ms,
                "latency_us": self.latency_us,
                "batch_latency_us": self.batch_us,
                "speedup_over_interpreter": self.speedup,
            });
            outln!("{report}");
            return;
        }
        outln!(
            "accuracy    {accuracy:.1} % of {} held-out images",
            self.images
        );
        outln!("compiled    in {:.1} ms, import included", self.compile_ms);
        outln!(
            "latency     {:.1} us an image, one at a time",
            self.latency_us
        );
        outln!("throughput  {:.2} us an image, all at once", self.batch_us);
        outln!("speed-up    {:.0} times the loop interpreter", self.speedup);
    }
}

impl Digits {
    fn read() -> Result<Self> {
        let broken = |what: &str| Error::Internal(format!("the built-in images: {what}"));
        let file: Named = read_npz_bytes(IMAGES).map_err(|e| broken(&e))?;
        let bytes = |name: &str| {
            let tensor = file
                .get(name)
                .ok_or_else(|| broken("an entry is missing"))?;
            Ok::<&[u8], Error>(tensor.as_slice::<u8>()?)
        };
        let labels = bytes("labels")?.to_vec();
        let pixels: Vec<f32> = (bytes("images")?.iter())
            .map(|p| f32::from(*p) / BLACK)
            .collect();
        if pixels.len() != labels.len() * SIDE * SIDE {
            return Err(broken("images and labels differ in number"));
        }
        Ok(Digits { pixels, labels })
    }

    /// The pixels of images.
    fn image(&self, first: usize, count: usize) -> &[f32] {
        &self.pixels[first * SIDE * SIDE..][..count * SIDE * SIDE]
    }

    /// What the model reads in all images at once.
    fn classify(&self, executable: &Executable) -> Result<Vec<u8>> {
        let shape = [self.labels.len(), 1, SIDE, SIDE];
        let view = TensorView::from_slice(&shape, &self.pixels)?;
        let outputs = executable.run(&[("image", view)])?;
        let logits = outputs[0].as_slice::<f32>()?;
        let best = |row: &[f32]| {
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            best.unwrap_or(0) as u8
        };
        Ok(logits.chunks_exact(10).map(best).collect())
    }

    /// Some images side by side as characters: the first ones, and the first mistakes.
    fn show(&self, read: &[u8]) {
        let wrong = (0..read.len()).filter(|k| read[*k] != self.labels[*k]);
        let mut chosen: Vec<usize> = (0..read.len().min(4)).collect();
        chosen.extend(wrong.take(1).filter(|k| *k >= 4));
        for y in 0..SIDE {
            for k in &chosen {
                let row = &self.image(*k, 1)[y * SIDE..][..SIDE];
                let shade =
                    |p: &f32| SHADES[((p * SHADES.len() as f32) as usize).min(SHADES.len() - 1)];
                let text: String = row.iter().flat_map(|p| [shade(p); 2]).collect();
                out!("{text}  ");
            }
            outln!();
        }
        for k in &chosen {
            let text = format!("read {}, is {}", read[*k], self.labels[*k]);
            out!("{text:<width$}  ", width = 2 * SIDE);
        }
        outln!("\n");
    }
}

/// Units: nanoseconds; the median over all images, one at a time.
fn latency(executable: &Executable, digits: &Digits) -> Result<f64> {
    let mut session = executable.session()?;
    let mut samples = Vec::new();
    for round in 0..4 {
        for k in 0..digits.labels.len() {
            let view = TensorView::from_slice(&[1, 1, SIDE, SIDE], digits.image(k, 1))?;
            let watch = Stopwatch::start();
            session.run(&[view])?;
            // The first round warms caches up.
            if round > 0 {
                samples.push(watch.elapsed_ns());
            }
        }
    }
    samples.sort_unstable();
    Ok(samples[samples.len() / 2] as f64)
}

/// Units: nanoseconds an image when all are read at once; the best of several runs.
fn batch_latency(executable: &Executable, digits: &Digits) -> Result<f64> {
    let mut session = executable.session()?;
    let shape = [digits.labels.len(), 1, SIDE, SIDE];
    let view = TensorView::from_slice(&shape, &digits.pixels)?;
    let mut best = u64::MAX;
    for _ in 0..20 {
        let watch = Stopwatch::start();
        session.run(&[view])?;
        best = best.min(watch.elapsed_ns());
    }
    Ok(best as f64 / digits.labels.len() as f64)
}

/// Units: nanoseconds that the loop interpreter takes for an image of the same plan.
fn interpreter_ns(plan: &Plan, digits: &Digits) -> Result<f64> {
    let image = Tensor::from_slice(&[1, 1, SIDE, SIDE], digits.image(0, 1))?;
    let input = to_ir(image.view());
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let watch = Stopwatch::start();
        run_plan(plan, std::slice::from_ref(&input)).map_err(|e| Error::Internal(e.to_string()))?;
        best = best.min(watch.elapsed_ns() as f64);
    }
    Ok(best)
}

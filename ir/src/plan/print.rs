//! The text form of plans.
//!
//! ```text
//! plan "net" ($n in 1..=64 of input 0 dim 0) arena 64 {
//!   input "x" : f32[$n]
//!   output "y" : f32[$n]
//!   constant "w" 12 = data f32[3] hex "0000803f0000803f0000803f"
//!   kernel exp($n in 1..=64) {
//!     ...
//!   }
//!   slot 0 "x" : f32[$n] layout(d0) input 0
//!   slot 1 "e" : f32[$n] layout(d0) arena 0
//!   site "gather" "index of axis 0"
//!   steps {
//!     call 0(0, 1) sites 0 of ["e"] alone "a result is a result of the graph"
//!     barrier
//!     if 2 {
//!     } else {
//!     }
//!     loop 3, 2, 4 {
//!     }
//!   }
//! }
//! ```
//! Kernels and slots are numbered in order; a loop names its trip count, condition and counter.
//! The plan that prepares constants comes last, after `prepare`. Bytes of constants are a hash in
//! the short form (`Display`), and hexadecimal digits in the full form ([`Plan::full_text`]),
//! which is the one that can be parsed.
use super::{Place, Plan, PlanConstant, Slot, SlotId, Source, Step};
use crate::graph::TensorType;
use crate::tensor::Tensor;
use crate::text::show_string;
use std::fmt::{self, Write};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { full: false }.plan(self, f)
    }
}

impl Plan {
    /// The text form with the bytes of all constants: [`super::parse_plan`] reads it back.
    pub fn full_text(&self) -> String {
        let mut out = String::new();
        Printer { full: true }
            .plan(self, &mut out)
            .expect("invariant: a string takes all text");
        out
    }
}

struct Printer {
    full: bool,
}

impl Printer {
    fn plan(&self, plan: &Plan, out: &mut dyn Write) -> fmt::Result {
        let sizes: Vec<String> = plan
            .sizes
            .iter()
            .map(|s| {
                let (k, dim) = s.source;
                let (symbol, min, max) = (&s.symbol, s.min, s.max);
                format!("{symbol} in {min}..={max} of input {k} dim {dim}")
            })
            .collect();
        let (name, arena) = (show_string(&plan.name), &plan.arena_bytes);
        writeln!(out, "plan {name} ({}) arena {arena} {{", sizes.join(", "))?;
        for port in &plan.inputs {
            writeln!(out, "  input {} : {}", show_string(&port.name), port.ty)?;
        }
        for port in &plan.outputs {
            writeln!(out, "  output {} : {}", show_string(&port.name), port.ty)?;
        }
        for constant in &plan.constants {
            self.constant(constant, out)?;
        }
        for kernel in &plan.kernels {
            indented(&kernel.to_string(), 1, out)?;
        }
        for (k, slot) in plan.slots.iter().enumerate() {
            self.slot(k, slot, out)?;
        }
        for site in &plan.sites {
            let (node, what) = (show_string(&site.node), show_string(&site.what));
            writeln!(out, "  site {node} {what}")?;
        }
        writeln!(out, "  steps {{")?;
        steps(&plan.steps, 2, out)?;
        writeln!(out, "  }}")?;
        if let Some(prepare) = &plan.prepare {
            let mut text = String::new();
            self.plan(prepare, &mut text)?;
            writeln!(out, "  prepare")?;
            indented(&text, 1, out)?;
        }
        writeln!(out, "}}")
    }

    fn constant(&self, constant: &PlanConstant, out: &mut dyn Write) -> fmt::Result {
        let (name, bytes) = (show_string(&constant.name), constant.bytes);
        write!(out, "  constant {name} {bytes} = ")?;
        match &constant.source {
            Source::Prepared(k) => writeln!(out, "prepared {k}"),
            Source::Data(t) => self.data(t, out),
        }
    }

    fn data(&self, t: &Tensor, out: &mut dyn Write) -> fmt::Result {
        let shape = t.shape.iter().map(|d| (*d).into()).collect();
        write!(out, "data {} ", TensorType::new(t.dtype, shape))?;
        if !self.full {
            return writeln!(out, "#{:016x}", hash(&t.data));
        }
        out.write_str("hex \"")?;
        for byte in t.data.iter() {
            write!(out, "{byte:02x}")?;
        }
        out.write_str("\"\n")
    }

    fn slot(&self, k: usize, slot: &Slot, out: &mut dyn Write) -> fmt::Result {
        let ty = TensorType::new(slot.dtype, slot.shape.clone());
        let (name, layout) = (show_string(&slot.name), &slot.layout);
        write!(out, "  slot {k} {name} : {ty} {layout} ")?;
        match &slot.place {
            Place::Input(k) => writeln!(out, "input {k}"),
            Place::Output(k) => writeln!(out, "output {k}"),
            Place::Constant(k) => writeln!(out, "constant {k}"),
            Place::Arena(at) => writeln!(out, "arena {at}"),
        }
    }
}

/// Units: bytes of a constant that are hashed, at most: a hash is for the eye.
const HASHED: usize = 1 << 16;

/// FNV-1a: equal constants look equal.
fn hash(bytes: &[u8]) -> u64 {
    let step = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    let seed = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    bytes.iter().take(HASHED).fold(seed, step)
}

fn indented(text: &str, depth: usize, out: &mut dyn Write) -> fmt::Result {
    let pad = "  ".repeat(depth);
    text.lines().try_for_each(|l| writeln!(out, "{pad}{l}"))
}

fn list(slots: &[SlotId]) -> String {
    let all: Vec<String> = slots.iter().map(|s| s.0.to_string()).collect();
    all.join(", ")
}

fn steps(all: &[Step], depth: usize, out: &mut dyn Write) -> fmt::Result {
    let pad = "  ".repeat(depth);
    for step in all {
        match step {
            Step::Barrier => writeln!(out, "{pad}barrier")?,
            Step::Call(call) => {
                let (kernel, args) = (call.kernel.0, list(&call.args));
                let nodes: Vec<String> = call.nodes.iter().map(|n| show_string(n)).collect();
                let (site, nodes) = (call.site_base, nodes.join(", "));
                write!(out, "{pad}call {kernel}({args}) sites {site} of [{nodes}]")?;
                match &call.alone[..] {
                    "" => writeln!(out)?,
                    why => writeln!(out, " alone {}", show_string(why))?,
                }
            }
            Step::If {
                cond,
                then,
                otherwise,
            } => {
                writeln!(out, "{pad}if {} {{", cond.0)?;
                steps(then, depth + 1, out)?;
                writeln!(out, "{pad}}} else {{")?;
                steps(otherwise, depth + 1, out)?;
                writeln!(out, "{pad}}}")?;
            }
            Step::Loop {
                trip,
                cond,
                counter,
                body,
            } => {
                writeln!(out, "{pad}loop {} {{", list(&[*trip, *cond, *counter]))?;
                steps(body, depth + 1, out)?;
                writeln!(out, "{pad}}}")?;
            }
        }
    }
    Ok(())
}

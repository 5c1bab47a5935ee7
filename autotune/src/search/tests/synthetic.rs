//! Spaces like those of contractions, on a simulated machine: a tree of parameters, registers and
//! caches whose ends are cliffs, tails, and lines that fall on the same ways. The analytic model
//! knows some of that.
use crate::random::Random;
use crate::search::Outcome;
use crate::space::{Member, Space};
use std::hash::{DefaultHasher, Hash, Hasher};
use tensmith_passes::schedule::parameters::{Parameter, Values};

/// A product of matrices.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub rows: i64,
    pub columns: i64,
    pub depth: i64,
    /// Whether weights come from memory.
    pub is_far: bool,
}

/// Twelve tasks of different sizes and bounds.
pub fn tasks() -> Vec<Task> {
    let task = |rows, columns, depth, is_far| Task {
        rows,
        columns,
        depth,
        is_far,
    };
    vec![
        task(3136, 64, 64, false),
        task(3136, 64, 576, false),
        task(784, 128, 1152, false),
        task(196, 256, 2304, true),
        task(49, 512, 4608, true),
        task(49, 2048, 512, true),
        task(196, 1024, 256, false),
        task(128, 384, 384, false),
        task(128, 1536, 384, false),
        task(1, 1000, 2048, true),
        task(6400, 96, 24, false),
        task(320, 130, 770, false),
    ]
}

/// The choices that make a member.
struct Choice {
    algorithm: String,
    rows: i64,
    vectors: i64,
    block_depth: i64,
    block_rows: i64,
    ahead: i64,
    unroll: i64,
    order: String,
    points: i64,
    lanes: i64,
    tail: String,
    split: i64,
}

/// Asks for parameters in order, as a recipe does.
struct Asked<'a> {
    said: &'a Values,
    parameters: Vec<Parameter>,
}

impl Asked<'_> {
    fn ask(&mut self, name: &str, options: &[&str], default: usize) -> String {
        let texts: Vec<String> = options.iter().map(|o| o.to_string()).collect();
        let chosen = self.said.place(name, &texts, default);
        self.parameters.push(Parameter {
            name: name.into(),
            options: texts,
            default,
            chosen,
        });
        options[chosen].into()
    }

    fn number(&mut self, name: &str, options: &[&str], default: usize) -> i64 {
        self.ask(name, options, default).parse().unwrap()
    }
}

fn choose(said: &Values) -> (Choice, Vec<Parameter>) {
    let mut a = Asked {
        said,
        parameters: vec![],
    };
    let mut c = Choice {
        algorithm: a.ask("0/algorithm", &["direct", "packed", "points"], 1),
        rows: a.number("0/rows", &["1", "2", "3", "4", "6", "8", "12", "16"], 3),
        vectors: a.number("0/vectors", &["1", "2", "3", "4", "6"], 1),
        lanes: a.number("0/lanes", &["4", "8", "16"], 2),
        tail: a.ask("0/tail", &["mask", "peel", "pad"], 0),
        split: a.number("0/split", &["1", "2", "4", "8", "16"], 1),
        block_depth: i64::MAX,
        block_rows: i64::MAX,
        ahead: 0,
        unroll: a.number("0/unroll", &["1", "2", "4", "8"], 0),
        order: String::new(),
        points: 0,
    };
    // What follows depends on the algorithm.
    match &c.algorithm[..] {
        "direct" => c.order = a.ask("0/order", &["rows", "columns"], 0),
        "packed" => {
            let depths = ["32", "64", "128", "256", "512", "8192"];
            c.block_depth = a.number("0/depth", &depths, 5);
            let rows = ["16", "32", "64", "128", "256", "8192"];
            c.block_rows = a.number("0/block", &rows, 5);
            c.ahead = a.number("0/ahead", &["0", "128", "512", "1024", "4096"], 0);
            c.order = a.ask("0/order", &["rows", "columns"], 0);
        }
        _ => {
            c.points = a.number("0/points", &["2", "4"], 0);
            c.block_rows = a.number("0/strip", &["1", "2", "4", "8"], 1);
        }
    }
    (c, a.parameters)
}

/// Registers that a tile takes.
fn registers(c: &Choice) -> i64 {
    c.rows * c.vectors + c.vectors + 1
}

impl Task {
    fn flops(&self) -> f64 {
        2.0 * (self.rows * self.columns * self.depth) as f64
    }

    /// Units: nanoseconds, as the analytic model has it: the tile, tails and the size of panels.
    fn predicted_ns(&self, c: &Choice) -> f64 {
        let (rows, vectors) = (c.rows as f64, c.vectors as f64);
        let step = (rows * vectors / 2.0).max((rows + vectors) / 2.0).max(4.0);
        let efficiency = rows * vectors / 2.0 / step;
        let whole = |n: i64, by: i64| ((n as f64 / by as f64).ceil() * by as f64) / n as f64;
        let tails = whole(self.rows, c.rows) * whole(self.columns, c.lanes * c.vectors);
        let efficiency = efficiency * c.lanes as f64 / 16.0;
        let spills = if registers(c) > 32 { 1.5 } else { 1.0 };
        let packed = if c.algorithm == "direct" { 1.3 } else { 1.0 };
        let memory = if self.is_far {
            4.0 * (self.columns * self.depth) as f64 / 10.0
        } else {
            0.0
        };
        self.flops() / 96.0 / efficiency * tails * spills * packed + memory
    }

    /// Units: nanoseconds, in truth.
    fn true_ns(&self, c: &Choice) -> f64 {
        let mut ns = self.predicted_ns(c);
        // Far more than the model thinks.
        if registers(c) > 32 {
            ns *= 1.8;
        }
        // Code that does not fit the decoded instructions.
        if c.rows * c.vectors * c.unroll > 96 {
            ns *= 1.25;
        }
        // Tails: what is best depends on how much there is of them.
        let left = self.columns % (c.lanes * c.vectors);
        ns *= match &c.tail[..] {
            "mask" => 1.06,
            "peel" => 1.0 + 0.02 * left as f64,
            _ if left == 0 => 1.0,
            _ => 1.12,
        };
        // Parts for threads: few do not balance, many are small.
        let parts = self.rows as f64 / (c.rows * c.split) as f64;
        ns *= 1.0 + 0.6 / parts.max(0.5) + 0.002 * parts / c.split as f64;
        // Loops with little in them.
        ns *= 1.0 + 1.5 / (c.rows * c.vectors * c.unroll) as f64;
        let depth = c.block_depth.min(self.depth);
        let panel = 4 * depth * (c.lanes * c.vectors + c.rows);
        if panel > 48 << 10 {
            ns *= 1.0 + 0.35 * (panel as f64 / (48 << 10) as f64).log2().min(2.0);
        }
        // Sums that are stored and loaded again for each block of the depth.
        ns *= 1.0 + 12.0 / depth as f64;
        let block = 4 * depth * c.block_rows.min(self.rows);
        if block > 1 << 20 {
            ns *= if c.order == "rows" { 1.4 } else { 1.15 };
        }
        // Rows whose distance is a multiple of a page.
        if c.algorithm == "direct" && (4 * self.depth) % 4096 < 64 && c.rows > 4 {
            ns *= 1.6;
        }
        if self.is_far {
            let wait = match c.ahead {
                0 => 1.5,
                128 | 4096 => 1.2,
                _ => 1.0,
            };
            ns *= wait;
        } else if c.ahead > 0 {
            ns *= 1.05;
        }
        if c.algorithm == "points" {
            // Fewer products, but transforms; large tiles pay where sums are long.
            let saved = if c.points == 4 { 3.2 } else { 2.0 };
            let transforms = 60.0 * c.points as f64 / self.columns.min(self.depth) as f64;
            let strip = if c.block_rows * self.depth > 2048 {
                1.4
            } else {
                1.0
            };
            ns *= (1.0 / saved + transforms) * strip;
        }
        ns
    }
}

fn log(x: i64) -> f32 {
    (x.clamp(0, 1 << 20) as f32 + 1.0).log2()
}

impl Space for Task {
    fn member(&self, values: &Values) -> Option<Member> {
        let (c, parameters) = choose(values);
        // A verifier refuses some.
        if c.rows * c.vectors > 48 || c.points == 4 && self.depth < 32 {
            return None;
        }
        let mut identity = DefaultHasher::new();
        // One row needs no order: two values, one code.
        let order = if c.rows == 1 { "rows" } else { &c.order };
        let own = parameters.iter().filter(|p| p.name != "0/order");
        let own: Vec<&str> = own.map(|p| p.value()).collect();
        (own, order).hash(&mut identity);
        let depth = c.block_depth.min(self.depth);
        let features = vec![
            log(c.rows),
            log(c.vectors),
            log(c.unroll),
            log(c.rows * c.vectors),
            log(c.rows * c.vectors * c.unroll),
            registers(&c) as f32 / 32.0,
            log(4 * depth * (c.lanes * c.vectors + c.rows)),
            log(4 * depth * c.block_rows.min(self.rows)),
            log(c.ahead),
            log(depth),
            log(c.points),
            f32::from(u8::from(c.algorithm == "direct")),
            f32::from(u8::from(c.algorithm == "points")),
            f32::from(u8::from(c.order == "rows")),
            log(c.block_rows),
            (self.rows % c.rows) as f32,
            log(self.columns % (c.lanes * c.vectors)),
            log(c.lanes),
            f32::from(u8::from(c.tail == "mask")),
            f32::from(u8::from(c.tail == "peel")),
            log(self.rows / (c.rows * c.split)),
        ];
        Some(Member {
            parameters,
            identity: identity.finish(),
            features,
            predicted_ns: self.predicted_ns(&c),
        })
    }
}

/// The number of features of a member.
pub const FEATURES: usize = 21;

impl Task {
    /// Units: nanoseconds that a member takes in truth.
    pub fn ns(&self, values: &Values) -> f64 {
        self.true_ns(&choose(values).0)
    }

    /// What measuring a member gives: 5 % of noise, and a failure now and then.
    pub fn measure(&self, values: &Values, random: &mut Random) -> Outcome {
        // Twelve throws of a die are about normal.
        let noise: f64 = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
        match random.chance(0.02) {
            true => Outcome::Failed,
            false => Outcome::Ns(self.ns(values) * (1.0 + 0.05 * noise)),
        }
    }
}

/// Five members in two branches, of which one is wider.
pub struct Tiny;

impl Space for Tiny {
    fn member(&self, values: &Values) -> Option<Member> {
        let mut a = Asked {
            said: values,
            parameters: vec![],
        };
        match a.number("a", &["0", "1"], 0) {
            0 => a.ask("b", &["0", "1"], 0),
            _ => a.ask("c", &["0", "1", "2"], 0),
        };
        let mut identity = DefaultHasher::new();
        Values::of(&a.parameters).hash(&mut identity);
        Some(Member {
            parameters: a.parameters,
            identity: identity.finish(),
            features: vec![0.0; FEATURES],
            predicted_ns: 1.0,
        })
    }
}

//! `cargo xtask soak`: the random tests of `cargo xtask test`, on new seeds and for as long as is
//! wanted.
//!
//! A campaign is one test that takes its seeds from `TENSMITH_SEEDS`. It is run on chunks of seeds
//! in turn with the others; of a chunk that fails, halves are run until one seed is left.

use std::env;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::workspace::Workspace;

/// Shown below the options.
pub const EXAMPLES: &str = "Examples:
  cargo xtask soak
  cargo xtask soak --minutes 60
  cargo xtask soak --full
  cargo xtask soak contractions-256 contractions-512 --seeds 2000 --seed 1

Exit code 1 if a seed fails; its command is in the summary.";

/// A random test.
struct Campaign {
    name: &'static str,
    package: &'static str,
    /// The file in the package's `tests/`.
    program: &'static str,
    test: &'static str,
    /// Seeds of one run: some seconds.
    chunk: u64,
    /// Seeds that are a whole campaign.
    whole: u64,
}

const CAMPAIGNS: [Campaign; 11] = [
    Campaign {
        name: "graphs",
        package: "tensmith-passes",
        program: "random",
        test: "random_graphs",
        chunk: 1000,
        whole: 5000,
    },
    Campaign {
        name: "rules",
        package: "tensmith-passes",
        program: "rules",
        test: "rules_find_all_spellings_and_keep_values",
        chunk: 200,
        whole: 10000,
    },
    Campaign {
        name: "egraph",
        package: "tensmith-passes",
        program: "rules",
        test: "extremes_of_an_egraph_are_equal",
        chunk: 1000,
        whole: 2000,
    },
    Campaign {
        name: "schedules",
        package: "tensmith-passes",
        program: "random_schedules",
        test: "random_schedules_keep_what_kernels_compute",
        chunk: 6,
        whole: 600,
    },
    Campaign {
        name: "spaces",
        package: "tensmith-passes",
        program: "random_schedules",
        test: "members_of_spaces_keep_what_kernels_compute",
        chunk: 50,
        whole: 1000,
    },
    Campaign {
        name: "workers",
        package: "tensmith",
        program: "workers",
        test: "faults_are_classified_and_the_next_candidate_is_measured",
        chunk: 100,
        whole: 100,
    },
    Campaign {
        name: "contractions-256",
        package: "tensmith-codegen",
        program: "contractions",
        test: "of_256_bits",
        chunk: 200,
        whole: 3000,
    },
    Campaign {
        name: "contractions-512",
        package: "tensmith-codegen",
        program: "contractions",
        test: "of_512_bits",
        chunk: 200,
        whole: 3000,
    },
    Campaign {
        name: "ops",
        package: "tensmith-codegen",
        program: "op_table",
        test: "machine_code_agrees_with_the_interpreter",
        chunk: 12,
        whole: 120,
    },
    Campaign {
        name: "machine-code",
        package: "tensmith",
        program: "random_graphs",
        test: "random_graphs_compute_what_the_reference_does",
        chunk: 60,
        whole: 5000,
    },
    Campaign {
        name: "records",
        package: "tensmith-autotune",
        program: "records_processes",
        test: "killed_processes_lose_nothing_acknowledged",
        chunk: 200,
        whole: 200,
    },
];

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub struct Options {
    /// Campaigns to run; all if none is named
    #[arg(value_parser = CAMPAIGNS.map(|c| c.name))]
    names: Vec<String>,
    /// The first seed of each campaign; one that the clock gives by default
    #[arg(long, value_parser = clap::value_parser!(u64).range(..1 << 40))]
    seed: Option<u64>,
    /// Minutes for all campaigns together; each runs one chunk of seeds at least
    #[arg(long, default_value_t = 10.0, conflicts_with = "seeds")]
    minutes: f64,
    /// Seeds of each campaign, however long they take
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    seeds: Option<u64>,
    /// A whole campaign each, however long they take: 10,000 instances of each rule, 5,000 graphs,
    /// both ends of 2,000 e-graphs, 100 faults, 200 killed processes and so on
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    full: bool,
}

impl Options {
    /// How many seeds a campaign runs; `None`: as many as there is time for.
    fn count(&self, campaign: &Campaign) -> Option<u64> {
        match self.full {
            true => Some(campaign.whole),
            false => self.seeds,
        }
    }
}

/// How far a campaign is.
struct State<'c> {
    campaign: &'c Campaign,
    next: u64,
    time: Duration,
    failed: Vec<Range<u64>>,
}

/// Run the campaigns, and print a summary. Fails if a seed fails.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let chosen =
        |c: &&Campaign| options.names.is_empty() || options.names.iter().any(|n| n == c.name);
    let chosen: Vec<&Campaign> = CAMPAIGNS.iter().filter(chosen).collect();
    for campaign in &chosen {
        campaign.build(workspace)?;
    }
    let first = options.seed.map_or_else(of_clock, Ok)?;
    eprintln!("first seed {first}");
    let mut states: Vec<State<'_>> = chosen.iter().map(|c| State::new(c, first)).collect();
    let start = Instant::now();
    let limit = Duration::try_from_secs_f64(options.minutes * 60.0).context("--minutes")?;
    loop {
        for state in &mut states {
            let seeds = state.chunk(first, options.count(state.campaign));
            if !seeds.is_empty() {
                state.advance(workspace, seeds);
            }
        }
        let ended = |s: &State<'_>| match options.count(s.campaign) {
            Some(count) => s.next >= first + count,
            None => start.elapsed() >= limit,
        };
        let done = states.iter().all(ended);
        if done {
            break;
        }
    }
    summary(&states, first)
}

/// Seconds since 1970: other seeds each time.
fn of_clock() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(since
        .context("the clock stands before 1970; give --seed")?
        .as_secs())
}

impl<'c> State<'c> {
    fn new(campaign: &'c Campaign, first: u64) -> Self {
        State {
            campaign,
            next: first,
            time: Duration::ZERO,
            failed: vec![],
        }
    }

    /// The next seeds to run, of `count` from `first` on if there is a limit.
    fn chunk(&self, first: u64, count: Option<u64>) -> Range<u64> {
        let end = self.next + self.campaign.chunk;
        self.next..count.map_or(end, |n| end.min(first + n))
    }

    fn advance(&mut self, workspace: &Workspace, seeds: Range<u64>) {
        self.next = seeds.end;
        let start = Instant::now();
        let name = self.campaign.name;
        eprint!("{name:<18} {}..{} ", seeds.start, seeds.end);
        let passes = |seeds: &Range<u64>| self.campaign.passes(workspace, seeds);
        match narrow(seeds, &passes) {
            None => eprintln!("ok, {:.1} s", start.elapsed().as_secs_f64()),
            Some(failing) => {
                eprintln!("FAILED: {}", self.campaign.command_line(&failing));
                self.failed.push(failing);
            }
        }
        self.time += start.elapsed();
    }
}

/// The first failing seed, by halves; a chunk that fails only as a whole is given as a whole.
fn narrow(seeds: Range<u64>, passes: &dyn Fn(&Range<u64>) -> bool) -> Option<Range<u64>> {
    if passes(&seeds) {
        return None;
    }
    if seeds.end - seeds.start <= 1 {
        return Some(seeds);
    }
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let halves = [seeds.start..middle, middle..seeds.end];
    let found = halves.into_iter().find_map(|half| narrow(half, passes));
    Some(found.unwrap_or(seeds))
}

impl Campaign {
    fn arguments(&self) -> [&str; 5] {
        ["test", "-p", self.package, "--test", self.program]
    }

    /// Compiles the test, so that an error of the compiler is no failing seed.
    fn build(&self, workspace: &Workspace) -> Result<()> {
        let mut command = cargo(workspace);
        command.args(self.arguments()).arg("--no-run");
        process::run(self.name, &mut command)
    }

    fn passes(&self, workspace: &Workspace, seeds: &Range<u64>) -> bool {
        let mut command = cargo(workspace);
        command
            .args(self.arguments())
            .args(["--", "--exact", self.test])
            .env("TENSMITH_SEEDS", format!("{}..{}", seeds.start, seeds.end))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// The command that runs some seeds alone.
    fn command_line(&self, seeds: &Range<u64>) -> String {
        let arguments = self.arguments().join(" ");
        let Range { start, end } = seeds;
        format!(
            "TENSMITH_SEEDS={start}..{end} cargo {arguments} -- --exact {}",
            self.test
        )
    }
}

fn cargo(workspace: &Workspace) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .current_dir(&workspace.root)
        .env("TENSMITH_MODELS", &workspace.models)
        // What somebody has tuned here is not what is tested.
        .env(
            "TENSMITH_RECORDS",
            workspace.root.join("target/no-records.sqlite3"),
        );
    command
}

fn summary(states: &[State<'_>], first: u64) -> Result<()> {
    println!("campaign            seeds  minutes  failed");
    let mut failed = 0;
    for state in states {
        let minutes = state.time.as_secs_f64() / 60.0;
        let (name, seeds) = (state.campaign.name, state.next - first);
        println!(
            "{name:<18} {seeds:>6} {minutes:>8.1} {:>7}",
            state.failed.len()
        );
        failed += state.failed.len();
    }
    for state in states {
        for seeds in &state.failed {
            println!("{}", state.campaign.command_line(seeds));
        }
    }
    if failed > 0 {
        bail!("{failed} chunks of seeds fail");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Tests that campaigns name are there, and take their seeds from the environment.
    #[test]
    fn campaigns_are_tests_that_take_seeds() {
        let root = Workspace::here().root;
        for c in CAMPAIGNS {
            let folder = c.package.strip_prefix("tensmith-").unwrap_or("");
            let path = root.join(folder).join(format!("tests/{}.rs", c.program));
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            let test = format!("#[test]\nfn {}()", c.test);
            assert!(text.contains(&test), "{path:?} has no test `{}`", c.test);
            assert!(text.contains("seeds("), "{path:?} takes no seeds");
        }
    }

    #[test]
    fn failing_chunks_are_narrowed_to_a_seed() {
        let without = |bad: u64| move |seeds: &Range<u64>| !seeds.contains(&bad);
        for bad in 10..17 {
            assert_eq!(narrow(10..17, &without(bad)), Some(bad..bad + 1));
        }
        assert_eq!(narrow(10..17, &without(17)), None);
        let few = |seeds: &Range<u64>| seeds.end - seeds.start < 7;
        assert_eq!(narrow(10..17, &few), Some(10..17));
    }

    #[test]
    fn limits_end_the_last_chunk() {
        let mut state = State::new(&CAMPAIGNS[0], 5);
        let chunk = CAMPAIGNS[0].chunk;
        assert_eq!(state.chunk(5, None), 5..5 + chunk);
        assert_eq!(state.chunk(5, Some(3)), 5..8);
        state.next = 8;
        assert!(state.chunk(5, Some(3)).is_empty());
    }
}

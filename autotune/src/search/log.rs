//! What a search did, as lines of JSON, and its replay.
//!
//! The first line says how the search began, each other one what happened. A replay begins a search
//! in the same way, tells it what it was told, and finds out whether it proposes the same.
use super::{Outcome, Search};
use crate::Effort;
use crate::space::Space;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use tensmith_passes::schedule::parameters::Values;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// At most `n` members were asked for, and these proposed.
    Next {
        /// The number.
        n: usize,
        /// The members.
        values: Vec<Values>,
    },
    /// What became of a proposed member.
    Tell {
        /// The member.
        values: Values,
        /// What became of it.
        outcome: Outcome,
    },
    /// What became of a member in an earlier search.
    Recall {
        /// The member.
        values: Values,
        /// What became of it.
        outcome: Outcome,
    },
    /// What a member of another task takes.
    Learn {
        /// The task.
        task: u32,
        /// Of its kernel.
        features: Vec<f32>,
        /// Units: nanoseconds, by the analytic model.
        predicted_ns: f64,
        /// Units: nanoseconds.
        ns: f64,
    },
}

/// How a search began and what happened since.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// How thorough it is.
    pub effort: Effort,
    /// What it draws from.
    pub seed: u64,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Begin {
        effort: String,
        seed: u64,
    },
    Next {
        n: usize,
        values: Vec<String>,
    },
    Tell {
        values: String,
        ns: Option<f64>,
    },
    Recall {
        values: String,
        ns: Option<f64>,
    },
    Learn {
        task: u32,
        features: Vec<f32>,
        predicted_ns: f64,
        ns: f64,
    },
}

/// Why a log is not one, or not that of a search.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The reader failed.
    #[error("cannot read the log")]
    Io(#[from] io::Error),
    /// A line is none of a log.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The search proposes something else.
    #[error("event {event}: `{expected}` was proposed, and now `{found}`")]
    Differs {
        /// From 0.
        event: usize,
        /// What was proposed.
        expected: String,
        /// What the replay proposes.
        found: String,
    },
}

const EFFORTS: [(&str, Effort); 4] = [
    ("quick", Effort::Quick),
    ("standard", Effort::Standard),
    ("deep", Effort::Deep),
    ("uniform", Effort::Uniform),
];

impl Log {
    /// Of a search that begins.
    pub(super) fn new(effort: Effort, seed: u64) -> Log {
        Log {
            effort,
            seed,
            events: vec![],
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Writes all lines.
    ///
    /// Errors: of the writer.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let effort = EFFORTS.iter().find(|(_, e)| *e == self.effort);
        let begin = Line::Begin {
            effort: effort.map_or("standard", |(name, _)| name).into(),
            seed: self.seed,
        };
        let lines = self.events.iter().map(Line::of);
        for line in std::iter::once(begin).chain(lines) {
            serde_json::to_writer(&mut *writer, &line)?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads what [`Log::write`] wrote.
    ///
    /// Errors: of the reader, and lines that are none of a log.
    pub fn read(reader: impl BufRead) -> Result<Log, LogError> {
        let mut log: Option<Log> = None;
        for (k, text) in reader.lines().enumerate() {
            let error = |reason: String| LogError::Line {
                line: k + 1,
                reason,
            };
            let line = serde_json::from_str(&text?).map_err(|e| error(e.to_string()))?;
            match (&mut log, line) {
                (None, Line::Begin { effort, seed }) => {
                    let known = EFFORTS.iter().find(|(name, _)| *name == effort);
                    let (_, effort) = known.ok_or_else(|| error("an unknown effort".into()))?;
                    log = Some(Log::new(*effort, seed));
                }
                (Some(log), line) => log.push(line.event().map_err(error)?),
                (None, _) => return Err(error("expected `begin`".into())),
            }
        }
        log.ok_or(LogError::Line {
            line: 1,
            reason: "expected `begin`".into(),
        })
    }

    /// Repeats all events with a search that was begun in the same way.
    ///
    /// Errors: the search proposes something else.
    pub fn replay(&self, search: &mut Search, space: &dyn Space) -> Result<(), LogError> {
        let text = |values: &[Values]| {
            let all: Vec<String> = values.iter().map(Values::to_string).collect();
            all.join(", ")
        };
        for (k, event) in self.events.iter().enumerate() {
            match event {
                Event::Next { n, values } => {
                    let found = search.next(space, *n);
                    if found != *values {
                        return Err(LogError::Differs {
                            event: k,
                            expected: text(values),
                            found: text(&found),
                        });
                    }
                }
                Event::Tell { values, outcome } => search.tell(values, *outcome),
                Event::Recall { values, outcome } => search.recall(space, values, *outcome),
                Event::Learn {
                    task,
                    features,
                    predicted_ns,
                    ns,
                } => search.learn(*task, features, *predicted_ns, *ns),
            }
        }
        Ok(())
    }
}

fn ns_of(outcome: Outcome) -> Option<f64> {
    match outcome {
        Outcome::Ns(ns) => Some(ns),
        Outcome::Failed => None,
    }
}

impl Line {
    fn of(event: &Event) -> Line {
        match event {
            Event::Next { n, values } => Line::Next {
                n: *n,
                values: values.iter().map(Values::to_string).collect(),
            },
            Event::Tell { values, outcome } => Line::Tell {
                values: values.to_string(),
                ns: ns_of(*outcome),
            },
            Event::Recall { values, outcome } => Line::Recall {
                values: values.to_string(),
                ns: ns_of(*outcome),
            },
            Event::Learn {
                task,
                features,
                predicted_ns,
                ns,
            } => Line::Learn {
                task: *task,
                features: features.clone(),
                predicted_ns: *predicted_ns,
                ns: *ns,
            },
        }
    }

    fn event(self) -> Result<Event, String> {
        let outcome = |ns: Option<f64>| ns.map_or(Outcome::Failed, Outcome::Ns);
        Ok(match self {
            Line::Begin { .. } => return Err("a second `begin`".into()),
            Line::Next { n, values } => Event::Next {
                n,
                values: values.iter().map(|v| v.parse()).collect::<Result<_, _>>()?,
            },
            Line::Tell { values, ns } => Event::Tell {
                values: values.parse()?,
                outcome: outcome(ns),
            },
            Line::Recall { values, ns } => Event::Recall {
                values: values.parse()?,
                outcome: outcome(ns),
            },
            Line::Learn {
                task,
                features,
                predicted_ns,
                ns,
            } => Event::Learn {
                task,
                features,
                predicted_ns,
                ns,
            },
        })
    }
}

//! What `doctor` looks at.
use serde::Serialize;
use std::path::PathBuf;
use tensmith::Result;
use tensmith_autotune::COMPILER;
use tensmith_autotune::profile::Profile;
use tensmith_autotune::records::{self, Database, Health};
use tensmith_codegen::host;
use tensmith_codegen::target::Target;
use tensmith_runtime::quota;

/// The machine, what this process may use of it, and its records.
#[derive(Serialize)]
pub(super) struct Facts {
    /// The version of the compiler.
    pub(super) compiler: &'static str,
    /// Instructions that code uses, by their usual names.
    pub(super) features: Vec<&'static str>,
    /// Units: bits of the widest vectors that code uses.
    pub(super) vector_bits: usize,
    pub(super) cores: Cores,
    pub(super) memory: Memory,
    /// When programs get large pages.
    pub(super) large_pages: Option<String>,
    /// How the system sets the clock.
    pub(super) governor: Option<String>,
    pub(super) profile: Profile,
    pub(super) profile_path: Option<PathBuf>,
    pub(super) records: Store,
}

/// [`quota::Cores`] for JSON.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Cores {
    pub(super) usable: usize,
    pub(super) affinity: Option<usize>,
    pub(super) quota: Option<f64>,
}

/// [`quota::Memory`] for JSON.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Memory {
    pub(super) total_bytes: Option<u64>,
    pub(super) available_bytes: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
}

/// The database of records: how it is, or why it cannot be read; neither if there is none.
#[derive(Serialize)]
pub(super) struct Store {
    pub(super) path: Option<PathBuf>,
    pub(super) health: Option<Health>,
    pub(super) error: Option<String>,
}

impl Facts {
    pub(super) fn of(profile: Profile, records: Result<PathBuf>) -> Self {
        let target = Target::host();
        let quota::Cores {
            usable,
            affinity,
            quota,
        } = quota::cores();
        let quota::Memory {
            total_bytes,
            available_bytes,
            limit_bytes,
        } = quota::memory();
        let features = target.features.iter();
        let features = features.map(|f| f.strip_prefix("has_").unwrap_or(f));
        Facts {
            compiler: COMPILER,
            features: features.collect(),
            vector_bits: 8 * target.vector_bytes(),
            cores: Cores {
                usable,
                affinity,
                quota,
            },
            memory: Memory {
                total_bytes,
                available_bytes,
                limit_bytes,
            },
            large_pages: host::large_pages(),
            governor: host::governor(),
            profile,
            profile_path: Profile::path(),
            records: Store::of(records),
        }
    }
}

impl Store {
    fn of(path: Result<PathBuf>) -> Self {
        let path = match path {
            Ok(path) => path,
            Err(e) => return Store::refused(None, e.to_string()),
        };
        let health = check(&path);
        match health {
            Ok(health) => Store {
                path: Some(path),
                health,
                error: None,
            },
            Err(e) => Store::refused(Some(path), e.to_string()),
        }
    }

    fn refused(path: Option<PathBuf>, error: String) -> Self {
        Store {
            path,
            health: None,
            error: Some(error),
        }
    }

    /// Why there is no file of records, if nothing says where it is.
    pub(super) fn is_nowhere(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| self.path.is_none())
    }

    /// What is wrong with the file of records, in a line.
    pub(super) fn problem(&self) -> Option<String> {
        if self.is_nowhere().is_some() {
            return None;
        }
        if let Some(error) = &self.error {
            return Some(error.clone());
        }
        let health = self.health.as_ref()?;
        let first = health.problems.first()?;
        let path = self.path.as_ref()?.display();
        Some(format!("the records in {path} are damaged: {first}"))
    }
}

fn check(path: &std::path::Path) -> records::Result<Option<Health>> {
    let database = Database::open_to_read(path)?;
    database.map(|d| d.check()).transpose()
}

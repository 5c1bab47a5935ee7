//! Targets: which instructions there are, and the machine this process runs on.
use crate::error::CodegenError;
use crate::wide::vir::Width;
use crate::wide::{IsaFeatures, WideTarget};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use std::str::FromStr;
use target_lexicon::Triple;
use tensmith_ir::machine::Machine;

/// A machine to generate code for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The name: `host`, or one of [`Target::NAMES`].
    pub name: String,
    /// Architecture and operating system.
    pub triple: Triple,
    /// x86-64 features by Cranelift's names, such as `has_fma`.
    pub features: Vec<&'static str>,
    /// The widest vectors of wide tiles; `None`: no such tiles.
    pub wide: Option<Width>,
    /// Its caches and rates.
    pub machine: Machine,
}

/// Where code will live: decides how functions find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeModel {
    /// In memory of this process.
    Process,
    /// In an object file, position independent.
    Object,
}

/// Features of the x86-64 levels by Cranelift's names, least first.
const X86_FEATURES: [(&str, &[&str]); 4] = [
    (
        "x86-64-v2",
        &[
            "has_sse3",
            "has_ssse3",
            "has_cmpxchg16b",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
        ],
    ),
    (
        "x86-64-v3",
        &[
            "has_avx",
            "has_avx2",
            "has_bmi1",
            "has_bmi2",
            "has_fma",
            "has_lzcnt",
        ],
    ),
    (
        "x86-64-v4",
        &["has_avx512f", "has_avx512dq", "has_avx512vl"],
    ),
    // Not a level of the x86-64 ABI: its last one, and dot products of bytes.
    ("x86-64-v4-vnni", &["has_avx512vnni"]),
];

fn wide_target(features: &[&str]) -> WideTarget {
    let has = |name| features.contains(&name);
    WideTarget {
        features: IsaFeatures {
            avx: has("has_avx"),
            avx2: has("has_avx2"),
            fma: has("has_fma"),
            // Cranelift has no name for it; a host without it counts as one without AVX2.
            f16c: has("has_avx2"),
            avx512f: has("has_avx512f"),
            avx512dq: has("has_avx512dq"),
            avx512bw: false,
            avx512vl: has("has_avx512vl"),
            avx512vnni: has("has_avx512vnni"),
            avx_vnni: has("has_avx_vnni"),
        },
    }
}

impl Target {
    /// Names that [`Target::named`] knows besides `host`.
    pub const NAMES: [&'static str; 5] = [
        "x86-64-v2",
        "x86-64-v3",
        "x86-64-v4",
        "x86-64-v4-vnni",
        "aarch64",
    ];

    /// Units: bytes of the widest vectors that code for this target uses.
    pub fn vector_bytes(&self) -> usize {
        self.wide.map_or(16, Width::bytes)
    }

    /// A target by name.
    ///
    /// Errors: an unknown name, with the known ones.
    pub fn named(name: &str) -> Result<Self, CodegenError> {
        if name == "host" {
            return Ok(Self::host());
        }
        if name == "aarch64" {
            return Self::generic(name, "aarch64-unknown-linux-gnu", vec![]);
        }
        let Some(level) = X86_FEATURES.iter().position(|(n, _)| *n == name) else {
            return Err(CodegenError::Target {
                target: name.into(),
                reason: format!("unknown; choose host, {}", Self::NAMES.join(", ")),
            });
        };
        let features = X86_FEATURES[..=level]
            .iter()
            .flat_map(|(_, f)| f.iter().copied())
            .collect();
        Self::generic(name, "x86_64-unknown-linux-gnu", features)
    }

    fn generic(
        name: &str,
        triple: &str,
        features: Vec<&'static str>,
    ) -> Result<Self, CodegenError> {
        let triple = Triple::from_str(triple).map_err(|e| CodegenError::Target {
            target: name.into(),
            reason: e.to_string(),
        })?;
        Ok(Target {
            name: name.into(),
            triple,
            wide: wide_target(&features).widest(),
            features,
            machine: Machine::GENERIC,
        })
    }

    /// The machine this process runs on.
    pub fn host() -> Self {
        let features = crate::host::features();
        Target {
            name: "host".into(),
            triple: Triple::host(),
            wide: wide_target(&features).widest(),
            features,
            machine: crate::host::machine(),
        }
    }

    /// What wide tiles may use.
    pub fn wide_target(&self) -> WideTarget {
        wide_target(&self.features)
    }

    /// Whether the widest vectors have dot products of bytes.
    pub fn has_dots(&self) -> bool {
        self.wide
            .is_some_and(|w| self.wide_target().dots(w).is_some())
    }

    /// Whether there is a fused multiply-add instruction.
    pub fn has_fma(&self) -> bool {
        self.features.contains(&"has_fma")
            || matches!(
                self.triple.architecture,
                target_lexicon::Architecture::Aarch64(_)
            )
    }

    /// Cranelift's back end for this target.
    ///
    /// Errors: a target that Cranelift does not know, or without SSE 4.1 on x86-64.
    pub fn isa(&self, linkage: CodeModel) -> Result<OwnedTargetIsa, CodegenError> {
        let fail = |reason: String| CodegenError::Target {
            target: self.name.clone(),
            reason,
        };
        let mut flags = settings::builder();
        for (name, value) in [
            ("opt_level", "speed"),
            (
                "is_pic",
                if linkage == CodeModel::Object {
                    "true"
                } else {
                    "false"
                },
            ),
            (
                "enable_verifier",
                if cfg!(debug_assertions) {
                    "true"
                } else {
                    "false"
                },
            ),
            ("enable_llvm_abi_extensions", "false"),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
        ] {
            flags.set(name, value).map_err(|e| fail(e.to_string()))?;
        }
        let mut builder = isa::lookup(self.triple.clone()).map_err(|e| fail(e.to_string()))?;
        for feature in &self.features {
            builder
                .enable(feature)
                .map_err(|e| fail(format!("{feature}: {e}")))?;
        }
        builder
            .finish(settings::Flags::new(flags))
            .map_err(|e| fail(e.to_string()))
    }
}

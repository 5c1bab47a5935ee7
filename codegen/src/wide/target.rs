//! What a tile may use: instruction set extensions.

use super::vir::Width;
use iced_x86::CpuidFeature;

/// Extensions of x86-64 beyond its baseline that tiles know of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IsaFeatures {
    /// 256-bit floating point.
    pub avx: bool,
    /// 256-bit integers.
    pub avx2: bool,
    /// Fused multiply-add.
    pub fma: bool,
    /// 512-bit vectors and masks.
    pub avx512f: bool,
    /// 512-bit double- and quadword additions.
    pub avx512dq: bool,
    /// 512-bit bytes and words.
    pub avx512bw: bool,
    /// AVX-512 encodings of shorter vectors.
    pub avx512vl: bool,
}

impl IsaFeatures {
    /// Whether code may use an instruction that needs `feature`.
    pub(super) fn allows(&self, feature: CpuidFeature) -> bool {
        use CpuidFeature as C;
        match feature {
            C::INTEL8086 | C::INTEL186 | C::INTEL386 | C::X64 => true,
            C::CMOV | C::SSE | C::SSE2 => true,
            C::AVX => self.avx,
            C::AVX2 => self.avx2,
            C::FMA => self.fma,
            C::AVX512F => self.avx512f,
            C::AVX512DQ => self.avx512dq,
            C::AVX512BW => self.avx512bw,
            C::AVX512VL => self.avx512vl,
            _ => false,
        }
    }
}

/// The machine that tiles are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WideTarget {
    /// Extensions it has.
    pub features: IsaFeatures,
}

impl WideTarget {
    /// A machine with AVX2 and FMA, and nothing beyond.
    pub const fn avx2() -> Self {
        Self {
            features: IsaFeatures {
                avx: true,
                avx2: true,
                fma: true,
                avx512f: false,
                avx512dq: false,
                avx512bw: false,
                avx512vl: false,
            },
        }
    }

    /// A machine with AVX2, FMA and the F, DQ, BW and VL parts of AVX-512.
    pub const fn avx512() -> Self {
        Self {
            features: IsaFeatures {
                avx512f: true,
                avx512dq: true,
                avx512bw: true,
                avx512vl: true,
                ..Self::avx2().features
            },
        }
    }

    /// The widest vectors that it runs, if any are wider than 128 bits.
    pub const fn widest(&self) -> Option<Width> {
        let f = &self.features;
        if f.avx512f && f.avx2 && f.fma {
            Some(Width::Z512)
        } else if f.avx2 && f.fma {
            Some(Width::Y256)
        } else {
            None
        }
    }
}

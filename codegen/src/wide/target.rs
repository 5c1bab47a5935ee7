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
    /// Conversions from and to IEEE binary16.
    pub f16c: bool,
    /// 512-bit vectors and masks.
    pub avx512f: bool,
    /// 512-bit double- and quadword additions.
    pub avx512dq: bool,
    /// 512-bit bytes and words.
    pub avx512bw: bool,
    /// AVX-512 encodings of shorter vectors.
    pub avx512vl: bool,
    /// Dot products of bytes in AVX-512 encodings.
    pub avx512vnni: bool,
    /// Dot products of bytes in 256-bit vectors without AVX-512.
    pub avx_vnni: bool,
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
            C::F16C => self.f16c,
            C::AVX512F => self.avx512f,
            C::AVX512DQ => self.avx512dq,
            C::AVX512BW => self.avx512bw,
            C::AVX512VL => self.avx512vl,
            C::AVX512_VNNI => self.avx512vnni,
            C::AVX_VNNI => self.avx_vnni,
            _ => false,
        }
    }
}

/// How dot products of bytes are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotForm {
    /// With AVX-512.
    Evex,
    /// Without.
    Vex,
}

/// The machine that tiles are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WideTarget {
    /// Extensions it has.
    pub features: IsaFeatures,
}

impl WideTarget {
    /// A machine with AVX2, FMA and F16C, and nothing beyond.
    pub const fn avx2() -> Self {
        Self {
            features: IsaFeatures {
                avx: true,
                avx2: true,
                fma: true,
                f16c: true,
                avx512f: false,
                avx512dq: false,
                avx512bw: false,
                avx512vl: false,
                avx512vnni: false,
                avx_vnni: false,
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

    /// The instructions for dot products of bytes in vectors of a width, if it has them.
    pub const fn dots(&self, width: Width) -> Option<DotForm> {
        let f = &self.features;
        match width {
            Width::Z512 if f.avx512vnni => Some(DotForm::Evex),
            Width::Y256 if f.avx512vnni && f.avx512vl => Some(DotForm::Evex),
            Width::Y256 if f.avx_vnni => Some(DotForm::Vex),
            _ => None,
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

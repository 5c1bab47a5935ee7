//! What the bodies need to know of a floating-point format, and the helpers on its bits.
use super::code::V;
use super::coefficients as k;
use crate::dtype::DType;

/// `F32` or `F64`: most bodies are written once for both.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// The format.
    pub float: DType,
    /// The unsigned integer of the same size.
    pub uint: DType,
    /// Units: bits.
    pub mantissa: u32,
    /// The bias of the exponent.
    pub bias: i64,
    /// `ln 2` in two parts; a product of the first with an exponent is exact.
    pub ln2: [f64; 2],
    /// `pi/2` in two parts.
    pub pio2: [f64; 2],
    /// `e^x` is 0 below the first and infinite above the second.
    pub exp_range: [f64; 2],
    /// Above it `sinh` and `cosh` are infinite.
    pub sinh_max: f64,
    /// Above it `tanh` is 1.
    pub tanh_max: f64,
    /// Below it `sinh x` is `x`.
    pub sinh_tiny: f64,
    /// Above it `x^2` may overflow, and `1/x` does not count in `log x`.
    pub large: f64,
    /// Coefficients, see the tables.
    pub exp: &'static [f64],
    /// See the table; `None` where rounding an operand does not cover a shorter body's error.
    pub exp_negative: Option<&'static [f64]>,
    /// See the table.
    pub log: &'static [f64],
    /// See the table.
    pub log_pow: &'static [f64],
    /// `2/3` less the nearest number.
    pub two_thirds_low: f64,
    /// See the table.
    pub sin: &'static [f64],
    /// See the table.
    pub cos: &'static [f64],
    /// See the table.
    pub asin: &'static [f64],
    /// See the table.
    pub atan: &'static [f64],
    /// See the table.
    pub erf: &'static [f64],
}

/// IEEE binary32.
pub(super) const F32: Format = Format {
    float: DType::F32,
    uint: DType::U32,
    mantissa: 23,
    bias: 127,
    ln2: [k::LN2_HI_F32, k::LN2_LO_F32],
    pio2: [k::PIO2_HI_F32, k::PIO2_LO_F32],
    exp_range: [-104.0, 89.0],
    sinh_max: 90.0,
    tanh_max: 10.0,
    sinh_tiny: 1.0 / 8192.0,
    large: (1u64 << 60) as f64,
    exp: k::EXP_F32,
    exp_negative: Some(k::EXP_NEGATIVE_F32),
    log: k::LOG_F32,
    log_pow: k::LOG_POW_F32,
    two_thirds_low: k::TWO_THIRDS_LO_F32,
    sin: k::SIN_F32,
    cos: k::COS_F32,
    asin: k::ASIN_F32,
    atan: k::ATAN_F32,
    erf: k::ERF_F32,
};

/// IEEE binary64.
pub(super) const F64: Format = Format {
    float: DType::F64,
    uint: DType::U64,
    mantissa: 52,
    bias: 1023,
    ln2: [k::LN2_HI_F64, k::LN2_LO_F64],
    pio2: [k::PIO2_1, k::PIO2_2],
    exp_range: [-746.0, 710.0],
    sinh_max: 711.0,
    tanh_max: 20.0,
    sinh_tiny: 1.0 / (1u64 << 28) as f64,
    large: (1u128 << 120) as f64,
    exp: k::EXP_F64,
    exp_negative: None,
    log: k::LOG_F64,
    log_pow: k::LOG_POW_F64,
    two_thirds_low: k::TWO_THIRDS_LO_F64,
    sin: k::SIN_F64,
    cos: k::COS_F64,
    asin: k::ASIN_F64,
    atan: k::ATAN_F64,
    erf: k::ERF_F64,
};

impl Format {
    /// The least normal number.
    pub(super) fn min_normal(&self) -> f64 {
        self.power(1 - self.bias)
    }

    /// A power of two in the range of the format.
    pub(super) fn power(&self, exponent: i64) -> f64 {
        2f64.powi(exponent as i32)
    }

    /// A number so large that adding it to one of at most `2^(mantissa - 2)` rounds that to an
    /// integer, which then lies in the low bits.
    pub(super) fn magic(&self) -> f64 {
        1.5 * self.power(i64::from(self.mantissa))
    }

    /// The bits of a number.
    pub(super) fn bits_of(&self, value: f64) -> u64 {
        match self.float {
            DType::F32 => u64::from((value as f32).to_bits()),
            _ => value.to_bits(),
        }
    }

    /// The mask of the sign.
    pub(super) fn sign_bit(&self) -> u64 {
        1 << (8 * self.float.bytes() - 1)
    }

    /// The bits of a value.
    pub(super) fn bits<'c>(&self, x: V<'c>) -> V<'c> {
        x.bitcast(self.uint)
    }

    /// `magnitude`, which is not negative, with the sign of `sign`.
    pub(super) fn copy_sign<'c>(&self, magnitude: V<'c>, sign: V<'c>) -> V<'c> {
        let s = self.bits(sign);
        (self.bits(magnitude) | (s & s.bits(self.sign_bit()))).bitcast(self.float)
    }

    /// `value`, with its sign changed if that of `sign` is minus.
    pub(super) fn flip_sign<'c>(&self, value: V<'c>, sign: V<'c>) -> V<'c> {
        let s = self.bits(sign);
        (self.bits(value) ^ (s & s.bits(self.sign_bit()))).bitcast(self.float)
    }

    /// `2^(biased - bias)` for an unsigned `biased` exponent of a normal number.
    pub(super) fn scale<'c>(&self, biased: V<'c>) -> V<'c> {
        (biased << biased.bits(u64::from(self.mantissa))).bitcast(self.float)
    }
}

//! Arithmetic of whole numbers.

/// The greatest common divisor of the magnitudes of two numbers, neither of which is `i64::MIN`;
/// that of 0 and another is the other.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::gcd;

    #[test]
    fn divisors_are_not_negative() {
        assert_eq!(gcd(12, -18), 6);
        assert_eq!(gcd(-4, 0), 4);
        assert_eq!(gcd(0, 7), 7);
        assert_eq!(gcd(0, 0), 0);
    }
}

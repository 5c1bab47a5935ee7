//! Times and sizes as people write and read them.

/// A number of bytes for people.
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    unreachable!("the last unit has no bound")
}

/// Nanoseconds for people.
pub fn human_ns(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} us", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// Seconds since something, for people.
pub fn human_age(seconds: u64) -> String {
    match seconds {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min", s / 60),
        s if s < 2 * 86400 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86400),
    }
}

/// Nanoseconds of `500ms`, `2s`, `1.5s` or `1m`.
pub fn parse_duration(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        _ => return Err("expected a time such as 500ms or 2s".into()),
    };
    match digits.parse::<f64>() {
        Ok(n) if n >= 0.0 && n * unit < 1e15 => Ok((n * unit) as u64),
        _ => Err("expected a time such as 500ms or 2s".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(human_ns(12.4), "12 ns");
        assert_eq!(human_ns(12_400.0), "12.4 us");
        assert_eq!(human_ns(2.5e9), "2.50 s");
        let ages = [59, 60, 3600, 2 * 86400].map(human_age);
        assert_eq!(ages, ["59 s", "1 min", "1 h", "2 d"]);
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("2s"), Ok(2_000_000_000));
        assert_eq!(parse_duration("1.5ms"), Ok(1_500_000));
        assert!(parse_duration("2").is_err() && parse_duration("-1s").is_err());
        assert!(parse_duration("s").is_err() && parse_duration("1e30s").is_err());
    }
}

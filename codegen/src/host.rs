//! What the machine has that this process runs on.

/// CPU features of the host by Cranelift's names; empty where they are not asked for.
pub fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("has_sse3", std::is_x86_feature_detected!("sse3")),
            ("has_ssse3", std::is_x86_feature_detected!("ssse3")),
            (
                "has_cmpxchg16b",
                std::is_x86_feature_detected!("cmpxchg16b"),
            ),
            ("has_sse41", std::is_x86_feature_detected!("sse4.1")),
            ("has_sse42", std::is_x86_feature_detected!("sse4.2")),
            ("has_popcnt", std::is_x86_feature_detected!("popcnt")),
            ("has_avx", std::is_x86_feature_detected!("avx")),
            ("has_avx2", std::is_x86_feature_detected!("avx2")),
            ("has_fma", std::is_x86_feature_detected!("fma")),
            ("has_bmi1", std::is_x86_feature_detected!("bmi1")),
            ("has_bmi2", std::is_x86_feature_detected!("bmi2")),
            ("has_lzcnt", std::is_x86_feature_detected!("lzcnt")),
            ("has_avx512f", std::is_x86_feature_detected!("avx512f")),
            ("has_avx512dq", std::is_x86_feature_detected!("avx512dq")),
            ("has_avx512vl", std::is_x86_feature_detected!("avx512vl")),
        ];
        all.into_iter()
            .filter(|(_, has)| *has)
            .map(|(name, _)| name)
            .collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

/// Units: bytes of the level-1 data cache, of the level-2 cache and of the level-3 cache; the usual
/// sizes where the host does not say, and 0 for a level 3 that it does not have.
pub fn cache_bytes() -> (usize, usize, usize) {
    let read = |index: u32, what: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}");
        std::fs::read_to_string(path)
            .map(|s| s.trim().to_string())
            .ok()
    };
    let mut found = (32 << 10, 512 << 10, 0);
    for index in 0..8 {
        let (Some(level), Some(kind), Some(size)) = (
            read(index, "level"),
            read(index, "type"),
            read(index, "size"),
        ) else {
            break;
        };
        let Some(bytes) = parse_size(&size) else {
            continue;
        };
        match (level.as_str(), kind.as_str()) {
            ("1", "Data") => found.0 = bytes,
            ("2", _) => found.1 = bytes,
            ("3", _) => found.2 = bytes,
            _ => {}
        }
    }
    found
}

/// `32K` or `1M` in bytes.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_units() {
        assert_eq!(super::parse_size("32K"), Some(32768));
        assert_eq!(super::parse_size("1M"), Some(1 << 20));
        assert_eq!(super::parse_size("x"), None);
    }
}

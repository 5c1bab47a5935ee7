//! What the machine has that this process runs on.
use tensmith_ir::machine::{Machine, Rates};

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
            (
                "has_avx2",
                std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("f16c"),
            ),
            ("has_fma", std::is_x86_feature_detected!("fma")),
            ("has_bmi1", std::is_x86_feature_detected!("bmi1")),
            ("has_bmi2", std::is_x86_feature_detected!("bmi2")),
            ("has_lzcnt", std::is_x86_feature_detected!("lzcnt")),
            ("has_avx512f", std::is_x86_feature_detected!("avx512f")),
            ("has_avx512dq", std::is_x86_feature_detected!("avx512dq")),
            ("has_avx512vl", std::is_x86_feature_detected!("avx512vl")),
            (
                "has_avx512vnni",
                std::is_x86_feature_detected!("avx512vnni"),
            ),
            ("has_avx_vnni", std::is_x86_feature_detected!("avxvnni")),
        ];
        all.into_iter()
            .filter(|(_, has)| *has)
            .map(|(name, _)| name)
            .collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

/// What kind of processor this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Who made it, such as `GenuineIntel`; empty where nothing says so.
    pub vendor: String,
    /// The vendor's number of the family of cores.
    pub family: u32,
    /// The vendor's number of the core.
    pub model: u32,
    /// The name that it is sold by; empty where nothing says so.
    pub name: String,
}

/// The processor that this process runs on.
#[cfg(target_arch = "x86_64")]
pub fn cpu() -> Cpu {
    let cpuid = raw_cpuid::CpuId::new();
    let (family, model) = family_and_model(&cpuid);
    let name = cpuid.get_processor_brand_string();
    Cpu {
        vendor: vendor(&cpuid),
        family: family.into(),
        model: model.into(),
        name: name.map_or(String::new(), |n| n.as_str().trim().into()),
    }
}

/// The processor that this process runs on.
///
/// Source: Linux `arch/arm64/kernel/cpuinfo.c`, the rows of `/proc/cpuinfo`.
#[cfg(not(target_arch = "x86_64"))]
pub fn cpu() -> Cpu {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let row = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key));
        let value = found.and_then(|rest| rest.split_once(':'));
        value.map_or("", |(_, value)| value.trim())
    };
    let number = |key| parse_number(row(key)).unwrap_or(0);
    Cpu {
        vendor: row("CPU implementer").into(),
        family: number("CPU architecture"),
        model: number("CPU part"),
        name: row("model name").into(),
    }
}

/// `0xd0c` or `8`.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// How the system sets the clock of the first core, such as `performance` or `powersave`; `None`
/// where it does not say.
pub fn governor() -> Option<String> {
    let path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    Some(std::fs::read_to_string(path).ok()?.trim().into())
}

/// When the system gives large pages to programs: `always`, `madvise` or `never`; `None` where it
/// does not say.
///
/// Source: Linux `Documentation/admin-guide/mm/transhuge.rst`.
pub fn large_pages() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    parse_choice(&text).map(str::to_string)
}

/// The chosen word of `always [madvise] never`.
fn parse_choice(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// The caches of this machine, and the rates of its cores as their vendors and measurements
/// state them.
///
/// Source: A. Fog, "The microarchitecture of Intel, AMD, and VIA CPUs"; uops.info.
pub fn machine() -> Machine {
    let (l1_bytes, l2_bytes, l3_bytes) = cache_bytes();
    Machine {
        l1_bytes,
        l2_bytes,
        l3_bytes,
        rates: rates(),
    }
}

#[cfg(target_arch = "x86_64")]
fn rates() -> Rates {
    let cpuid = raw_cpuid::CpuId::new();
    let (family, model) = family_and_model(&cpuid);
    known_rates(&vendor(&cpuid), family, model)
}

#[cfg(target_arch = "x86_64")]
type CpuId = raw_cpuid::CpuId<raw_cpuid::CpuIdReaderNative>;

#[cfg(target_arch = "x86_64")]
fn vendor(cpuid: &CpuId) -> String {
    let vendor = cpuid.get_vendor_info();
    vendor.map_or(String::new(), |v| v.as_str().into())
}

#[cfg(target_arch = "x86_64")]
fn family_and_model(cpuid: &CpuId) -> (u8, u8) {
    let family = cpuid.get_feature_info();
    family.map_or((0, 0), |f| (f.family_id(), f.model_id()))
}

#[cfg(not(target_arch = "x86_64"))]
fn rates() -> Rates {
    Rates::GENERIC
}

/// Intel's server cores since Skylake: both units multiply-add 512 bits, and the mesh between
/// cores makes the level-3 cache slow for one of them.
#[cfg(any(test, target_arch = "x86_64"))]
const INTEL_SERVERS: [u8; 7] = [0x55, 0x6a, 0x6c, 0x8f, 0xcf, 0xad, 0xae];

#[cfg(any(test, target_arch = "x86_64"))]
fn known_rates(vendor: &str, family: u8, model: u8) -> Rates {
    let full = Rates {
        fmas_512: 2.0,
        loads_512: 2.0,
        l2_bytes: 48.0,
        ..Rates::GENERIC
    };
    match (vendor, family) {
        ("GenuineIntel", 6) if INTEL_SERVERS.contains(&model) => Rates {
            l3_bytes: 12.0,
            memory_bytes: 6.0,
            ..full
        },
        // Client cores join two 256-bit units to one of 512 bits.
        ("GenuineIntel", _) => Rates {
            fmas_512: 1.0,
            ..full
        },
        // Zen 5 and newer.
        ("AuthenticAMD", 0x1a..) => Rates {
            l3_bytes: 26.0,
            memory_bytes: 8.0,
            ..full
        },
        // Zen 1 to 4.
        ("AuthenticAMD", 0x17..) => Rates {
            l3_bytes: 26.0,
            memory_bytes: 8.0,
            ..Rates::GENERIC
        },
        _ => Rates::GENERIC,
    }
}

/// Units: bytes of the level-1 data cache, of the level-2 cache and of the level-3 cache; the usual
/// sizes where the host does not say, and 0 for a level 3 that it does not have.
fn cache_bytes() -> (usize, usize, usize) {
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
    fn cores_are_told_apart() {
        let wide = |vendor, family, model| super::known_rates(vendor, family, model).fmas_512;
        assert_eq!(wide("AuthenticAMD", 0x19, 0x11), 1.0);
        assert_eq!(wide("AuthenticAMD", 0x1a, 0x02), 2.0);
        assert_eq!(wide("GenuineIntel", 6, 0xcf), 2.0);
        assert_eq!(wide("GenuineIntel", 6, 0x8c), 1.0);
        assert_eq!(wide("unheard of", 1, 1), 1.0);
    }

    #[test]
    fn words_of_the_system_are_read() {
        use super::{parse_choice, parse_number};
        assert_eq!(parse_choice("always [madvise] never\n"), Some("madvise"));
        assert_eq!(parse_choice("always"), None);
        assert_eq!(
            (parse_number("0xd0c"), parse_number("8")),
            (Some(0xd0c), Some(8))
        );
        assert_eq!(parse_number("x"), None);
    }

    #[test]
    fn this_processor_has_a_maker() {
        assert!(!super::cpu().vendor.is_empty());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(super::parse_size("32K"), Some(32768));
        assert_eq!(super::parse_size("1M"), Some(1 << 20));
        assert_eq!(super::parse_size("x"), None);
    }
}

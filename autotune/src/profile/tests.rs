//! Profiles: their machine, and their name.
use super::*;

/// A profile of a made-up machine of round figures.
pub(super) fn profile() -> Profile {
    let access = |bytes_per_s, latency_ns| Access {
        bytes_per_s,
        latency_ns,
    };
    let level = |name, bytes, bytes_per_s, latency_ns| Level {
        name,
        bytes,
        one: access(bytes_per_s, latency_ns),
        all: access(2.0 * bytes_per_s, latency_ns),
    };
    let arithmetic = |bits: u32, fmas: f64, loads: f64| Arithmetic {
        bits,
        flops_per_s: 2e9 * fmas * f64::from(2 * bits / 32),
        all_flops_per_s: 4e9 * fmas * f64::from(2 * bits / 32),
        dots: (bits > 128).then(|| Dots {
            ops_per_s: 2e9 * fmas * f64::from(bits / 4),
            all_ops_per_s: 4e9 * fmas * f64::from(bits / 4),
        }),
        loads_per_s: 2e9 * loads,
    };
    Profile {
        identity: Identity {
            format: FORMAT,
            compiler: COMPILER.into(),
            machine: "made-up".into(),
            cpu: "Made Up 1".into(),
            cores: 2,
            quota: None,
        },
        clock_hz: 2e9,
        clock_spread: 0.01,
        fma_spread: 0.02,
        fma_latency_ns: 2.0,
        arithmetic: vec![
            arithmetic(128, 1.5, 2.5),
            arithmetic(256, 2.0, 3.0),
            arithmetic(512, 1.0, 2.0),
        ],
        memory: vec![
            level(LevelName::L1, Some(48 << 10), 200e9, 2.5),
            level(LevelName::L2, Some(2 << 20), 80e9, 8.0),
            level(LevelName::Memory, None, 10e9, 100.0),
        ],
        hand_off: Some(HandOff {
            run_ns: 400.0,
            barrier_ns: 200.0,
            line_ns: 20.0,
        }),
        when_s: 1_700_000_000,
        took_ms: 4000.0,
    }
}

#[test]
fn machines_have_rates_a_cycle() {
    let machine = profile().machine();
    assert_eq!(
        (machine.l1_bytes, machine.l2_bytes, machine.l3_bytes),
        (48 << 10, 2 << 20, 0)
    );
    let expected = Rates {
        fmas: 2.0,
        fmas_512: 1.0,
        loads: 3.0,
        loads_512: 2.0,
        fma_latency: 4.0,
        l2_bytes: 40.0,
        l3_bytes: 5.0,
        memory_bytes: 5.0,
    };
    assert_eq!(machine.rates, expected);
}

#[test]
fn machines_without_wide_vectors_have_rates() {
    let mut narrow = profile();
    narrow.arithmetic.truncate(1);
    let rates = narrow.machine().rates;
    assert_eq!((rates.fmas, rates.fmas_512, rates.loads), (1.5, 0.75, 2.5));
}

#[test]
fn keys_tell_machines_apart_and_are_words() {
    let cpu = Cpu {
        vendor: "GenuineIntel".into(),
        family: 6,
        model: 207,
        name: "A".into(),
    };
    let key = |cpu: &Cpu, features: &[&str]| key_of(cpu, features, &Machine::GENERIC, 64);
    let first = key(&cpu, &["has_avx"]);
    assert!(
        first.starts_with("intel-6-207-v512-32k-512k-0k-"),
        "{first}"
    );
    let other = Cpu {
        name: "B".into(),
        ..cpu.clone()
    };
    assert_ne!(first, key(&other, &["has_avx"]));
    assert_ne!(first, key(&cpu, &["has_avx", "has_fma"]));
    let strange = Cpu {
        vendor: "Ünbekannt / x\n".into(),
        ..cpu
    };
    assert!(key(&strange, &[]).chars().all(|c| c.is_ascii_graphic()));
    assert_eq!(machine_key(), Identity::here().machine);
}

#[test]
fn other_cores_have_another_file() {
    let here = profile().identity;
    assert_eq!(here.file_name(), "profile-made-up-2c.json");
    let pinned = Identity {
        cores: 1,
        ..here.clone()
    };
    let limited = Identity {
        quota: Some(1.5),
        ..here
    };
    assert_eq!(pinned.file_name(), "profile-made-up-1c.json");
    assert_eq!(limited.file_name(), "profile-made-up-2c-quota1.5.json");
}

//! A contest of a small space, without measuring.
use super::*;
use std::convert::Infallible;

const TASK: &str = include_str!("matmul.task");
const TRIALS: usize = 16;

fn host() -> Host {
    Host {
        threads: 1,
        vector_bytes: 32,
        dots: false,
        fma: true,
        cache_bytes: [32 << 10, 1 << 20, 0],
        rates: [2.0, 1.0, 2.0, 1.0, 4.0, 32.0, 16.0, 7.0],
    }
}

/// The default has the ratio 1; a member fails, or its identity gives a ratio.
fn time(identity: u64, default: u64) -> Timing {
    let ratio = match identity {
        id if id == default => Some(1.0),
        id if id % 7 == 0 => None,
        id => Some(0.5 + (id % 1000) as f64 / 1000.0),
    };
    Timing { ratio, pairs: 3 }
}

/// A contest of `seeds` seeds, and the lines that were written on the way.
fn contest(seeds: u64) -> (Log, Vec<u8>) {
    let mut lines = Vec::new();
    let head = Head {
        host: host(),
        ..Head::here(1, TRIALS)
    };
    let mut log = Log::new(head);
    log.write_head(&mut lines).unwrap();
    let entrant = Entrant {
        model: "m".into(),
        name: "t".into(),
        calls: 2,
        ns: 1e6,
        task: TASK.into(),
    };
    log.add_task(entrant, &mut lines).unwrap();
    let space = Known::new(TASK, &host()).unwrap();
    let default = space.member(&Values::default()).unwrap().identity;
    for seed in 0..seeds {
        for side in Side::ALL {
            let mut times = Vec::new();
            let run = run(&space, (side, seed), (TRIALS, 1e6), |id, _| {
                times.push(id);
                Ok::<_, Infallible>(time(id, default))
            });
            for id in times {
                log.add_time((0, id), time(id, default), &mut lines)
                    .unwrap();
            }
            log.add_run((0, side, seed), run.unwrap(), &mut lines)
                .unwrap();
        }
    }
    (log, lines)
}

#[test]
fn logs_are_read_back_and_a_torn_line_is_left_out() {
    let (log, lines) = contest(2);
    assert_eq!(log.seeds(), 2);
    assert_eq!(Log::read(&lines[..]).unwrap(), log);
    let torn = Log::read(&lines[..lines.len() - 3]).unwrap();
    assert_eq!((torn.seeds(), torn.measured()), (1, log.measured()));
    let mut sorted = Vec::new();
    log.write(&mut sorted).unwrap();
    assert_eq!(Log::read(&sorted[..]).unwrap(), log);
    assert_eq!(log.complete(), log);
    assert_eq!(torn.complete(), contest(1).0);
    for wrong in ["{}\n", "", "{\"task\":3}\n"] {
        assert!(Log::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let text = String::from_utf8(lines).unwrap();
    let other = text.replacen("\"format\":1", "\"format\":2", 1);
    assert!(Log::read(other.as_bytes()).is_err());
}

#[test]
fn replays_say_when_a_log_is_of_another_version() {
    let (log, _) = contest(2);
    let space = Known::new(TASK, &host()).unwrap();
    for side in Side::ALL {
        replay(&log, 0, (side, 1), &space, TRIALS).unwrap();
    }
    // Wider vectors: other tiles.
    let other = Host {
        vector_bytes: 64,
        ..host()
    };
    let space = Known::new(TASK, &other).unwrap();
    let stale = replay(&log, 0, (Side::Random, 0), &space, TRIALS).unwrap_err();
    assert!(stale.to_string().contains("of another version"), "{stale}");
}

#[test]
fn reports_say_what_each_side_found() {
    let (log, _) = contest(3);
    let report = Report::new(&log).unwrap();
    let row = &report.rows[0];
    assert_eq!((report.seeds, row.ns), (3, 2e6));
    let least = |side, from: usize| {
        let of = |seed| {
            let run = log.run(0, side, seed).unwrap();
            let ratios = run[from..].iter().filter_map(|id| log.time(0, *id)?.ratio);
            ratios.fold(f64::INFINITY, f64::min)
        };
        (0..3).map(of).product::<f64>().cbrt()
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    close(row.search, least(Side::Search, 0));
    close(row.random, least(Side::Random, 0));
    close(row.drawn, least(Side::Random, 1));
    let every = (0..3).flat_map(|seed| Side::ALL.map(|side| log.run(0, side, seed).unwrap()));
    let every = every.flatten().filter_map(|id| log.time(0, *id)?.ratio);
    close(row.fastest, every.fold(f64::INFINITY, f64::min));
    let over = report.over_random[0];
    close(over.mean, row.search / row.random);
    assert!(over.low <= over.mean && over.mean <= over.high);
    for (curve, end) in report.curves.iter().zip([row.search, row.random]) {
        close(curve[0], 1.0);
        close(curve[TRIALS - 1], end);
        assert!(curve.is_sorted_by(|a, b| a >= b));
    }
    assert_eq!(Report::new(&Log::new(log.head.clone())), None);
}

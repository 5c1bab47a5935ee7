//! Pages of a tuning that was made up.
use super::*;
use crate::explain::machine::Machine;
use crate::tune::choices::TriedChoice;
use crate::tune::stitch::Stitched;
use crate::tune::tasks::ModelTask;
use std::collections::BTreeMap;
use tensmith_autotune::allocate::StopReason;
use tensmith_autotune::probe::{LevelName, MemoryLevel};
use tensmith_passes::choice::Choice;
use tensmith_passes::schedule::parameters::{Parameter, Values};
use tensmith_runtime::stats::Interval;

const TASK: &str = "kernel copy() {\n  out o0: f32[4]\n  in a1: f32[4]\n  for i0 < 4 space {\n    \
                    o0[i0] = a1[i0]\n  }\n}\nconstants";

/// Ends an attribute, an element, a script and a comment, names a place of the page, and turns what
/// follows around.
const HOSTILE: &str =
    "\"'></td></svg></script><script>alert(1)</script><!-- {{rows}} & \u{1b}[2J\u{202e}";

fn task(name: &str, flops: f64) -> TaskReport {
    TaskReport {
        task: ModelTask {
            name: name.into(),
            nodes: vec![name.into()],
            calls: 2,
            ns: 1000.0,
            bound_ns: 250.0,
            flops,
            bytes: 64.0,
            share: 0.25,
            task: TASK.parse().unwrap(),
            parameters: vec![],
        },
        is_searched: true,
        trials: 8,
        failures: BTreeMap::new(),
        best: Some((Values::default(), 0.5)),
        is_accepted: flops > 0.0,
        in_model: Some(0.75),
        curve: vec![(1.0, 4, 0.8), (2.0, 8, 0.5)],
        end: None,
        is_failed: false,
    }
}

fn choice(name: &str) -> TriedChoice {
    let parameter = Parameter {
        name: "algorithm".into(),
        options: vec!["direct".into(), "winograd-2".into()],
        default: 0,
        chosen: 0,
    };
    TriedChoice {
        choice: Choice {
            about: name.into(),
            parameter,
            ratios: vec![],
            nodes: vec![name.into()],
        },
        option: "winograd-2".into(),
        ratio: Some(Interval {
            low: 0.9,
            estimate: 0.925,
            high: 0.95,
        }),
        is_accepted: true,
    }
}

fn tuning(name: &str) -> Tuning {
    Tuning {
        model: name.into(),
        target: "host".into(),
        threads: 1,
        machine: Machine {
            threads: 1,
            flops_per_s: 1e11,
            dots_per_s: None,
            memory: vec![MemoryLevel {
                name: LevelName::Memory,
                bytes: None,
                bytes_per_s: 1e10,
            }],
            profile_s: None,
        },
        tasks: vec![task(name, 1e4), task("copy", 0.0)],
        stop: StopReason::Asked,
        choices: vec![choice(name)],
        stitched: Stitched::default(),
        left_share: 0.0,
        search_ns: 3_000_000_000,
        total_ns: 4_000_000_000,
        workers: 1,
        lost: None,
    }
}

/// Errors: a tag that is not closed, or not opened.
fn check_tags(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let start = page.find("<html").ok_or("no page")?;
    for part in page[start..].split('<').skip(1) {
        let (tag, _) = part.split_once('>').ok_or_else(|| format!("<{part}"))?;
        let name = tag
            .split([' ', '\n', '/'])
            .find(|n| !n.is_empty())
            .unwrap_or("");
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> at {open:?}"));
            }
        } else if !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(format!("{open:?} is open")),
    }
}

#[test]
fn hostile_names_are_text() {
    let page = html(&tuning(HOSTILE));
    check_tags(&page).unwrap();
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains(['\u{1b}', '\u{202e}']));
    assert_eq!(
        page.matches("<tr>").count(),
        5,
        "a place in a name was filled"
    );
    assert!(page.contains(&escaped(HOSTILE)));
    assert_eq!(
        check_tags("<html><b></html>"),
        Err("</html> at [\"html\"]".into())
    );
}

#[test]
fn the_page_holds_the_numbers() {
    let tuning = tuning("net");
    let page = html(&tuning);
    // Accepted: as in the model. Reverted: as before.
    assert_eq!(page.matches("data-value=\"750\">750 ns").count(), 1);
    assert_eq!(page.matches("data-value=\"1000\">1.0 us").count(), 3);
    assert!(page.contains("rates of the machine: measured in this process"));
    assert!(page.contains("accepted: 0.750 in the model"));
    assert!(page.contains("reverted: 0.750 in the model"));
    assert!(page.contains("<td>winograd-2</td><td data-value=\"0.925\">0.925</td>"));
    // A picture of each kind, with the points of both tasks.
    assert_eq!(page.matches("<svg ").count(), 4);
    assert_eq!(page.matches("<circle class=\"before\"").count(), 2);
    assert!(page.contains("net: 10.0 -&gt; 13.3 GFLOP/s"), "{page}");
    assert_eq!(
        tuning.curve(),
        [(0.0, 1.0), (1.0, 0.9), (1.0, 0.8), (2.0, 0.65), (2.0, 0.5)]
    );
}

#[test]
fn the_page_asks_for_nothing() {
    for outside in ["http", "src=", "href=", "@import", "url("] {
        assert!(!html(&tuning("net")).contains(outside), "{outside}");
    }
}

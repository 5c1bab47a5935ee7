//! A report as one page that needs nothing else: table, roofline, timeline.
use super::timeline::Slice;
use super::{KernelReport, Report};
use crate::page::plot::{Dot, Plot};
use crate::page::{document, embedded, filled, roofline};
use serde_json::json;

/// The body of the page, with places for the data and the pictures.
const PAGE: &str = include_str!("page.html");

/// Slices of each thread that the page holds, at most: what a browser draws at once.
const SLICES: usize = 20_000;

/// The report as a page of HTML.
pub fn html(report: &Report) -> String {
    let slice = |s: &Slice| json!([s.step, s.begin_ns, s.ns]);
    let track = |t: &Vec<Slice>| t.iter().take(SLICES).map(slice).collect::<Vec<_>>();
    let tracks = report.timeline.tracks.iter();
    let data = json!({
        "report": report,
        "labels": report.labels,
        "timeline": {
            "ns": report.timeline.ns,
            "cut": tracks.clone().any(|t| t.len() > SLICES),
            "tracks": tracks.map(track).collect::<Vec<_>>(),
        },
    });
    let [roofline, bandwidth] = pictures(report).map(|plot| plot.svg());
    let texts = [
        ("{{roofline}}", &roofline[..]),
        ("{{bandwidth}}", &bandwidth),
        ("{{data}}", &embedded(data)),
    ];
    document("tensmith explain", &filled(PAGE, &texts))
}

/// The roofline of the kernels whose arithmetic is counted, and the bandwidth of the others.
fn pictures(report: &Report) -> [Plot; 2] {
    let ran = report
        .kernels
        .iter()
        .filter(|k| k.ns > 0.0 && k.bytes > 0.0);
    let (counted, others): (Vec<&KernelReport>, Vec<_>) = ran.partition(|k| k.flops > 0.0);
    let speed = |k: &KernelReport| (k.flops / k.bytes, k.gflops());
    let rate = |k: &KernelReport| (k.bytes / k.calls.max(1) as f64, k.gbytes());
    let points = |kernels: &[&KernelReport], of: &dyn Fn(&KernelReport) -> (f64, f64)| {
        kernels.iter().map(|k| of(k)).collect::<Vec<_>>()
    };
    let mut first = roofline::roofline(&report.machine, &points(&counted, &speed));
    circles(&mut first, counted, "contraction", &speed);
    let mut second = roofline::bandwidth(&report.machine, &points(&others, &rate));
    circles(&mut second, others, "other", &rate);
    [first, second]
}

/// A circle for each kernel, the largest share of the run below the others.
fn circles(
    plot: &mut Plot,
    mut kernels: Vec<&KernelReport>,
    class: &str,
    at: &dyn Fn(&KernelReport) -> (f64, f64),
) {
    kernels.sort_by(|a, b| b.share.total_cmp(&a.share));
    for kernel in kernels {
        plot.dot(&Dot {
            at: at(kernel),
            radius: 3.0 + 17.0 * kernel.share.clamp(0.0, 1.0).sqrt(),
            class,
            step: Some(kernel.step),
            title: &kernel.name,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_place_once_and_asks_for_nothing() {
        for place in ["{{data}}", "{{roofline}}", "{{bandwidth}}"] {
            assert_eq!(PAGE.matches(place).count(), 1, "{place}");
        }
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}

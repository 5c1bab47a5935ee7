//! A report as one page that needs nothing else: table, roofline, timeline.
use super::Report;
use super::timeline::Slice;
use serde_json::json;

/// The page, with a place for the data.
const PAGE: &str = include_str!("page.html");

/// Where the data goes.
const PLACE: &str = "{{data}}";

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
    PAGE.replace(PLACE, &embedded(&data.to_string()))
}

/// JSON that ends no script: names come from the model.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_the_script() {
        let text = json!({ "name": "</script><script>alert(1)</script>" }).to_string();
        let safe = embedded(&text);
        assert!(!safe.contains('<'), "{safe}");
        let back: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(back["name"], "</script><script>alert(1)</script>");
    }

    #[test]
    fn the_page_has_one_place_and_asks_for_nothing() {
        assert_eq!(PAGE.matches(PLACE).count(), 1);
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let allowed = "http://www.w3.org/2000/svg";
            assert!(!PAGE.replace(allowed, "").contains(outside), "{outside}");
        }
    }
}

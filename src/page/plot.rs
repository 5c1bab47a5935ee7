//! Pictures of points and lines in a frame, as SVG.
use super::{PLOT_STYLE, escaped};
use std::fmt::Write;

/// Units: pixels of a picture.
const SIZE: [f64; 2] = [560.0, 352.0];
/// Units: pixels: left, right, bottom and top of the frame.
const FRAME: [f64; 4] = [52.0, 546.0, 318.0, 24.0];
/// Lines of the grid along an axis, about.
const TICKS: f64 = 6.0;

/// What an axis shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it is.
    pub title: String,
    /// The values at its ends. What lies outside is drawn at the end.
    pub range: [f64; 2],
    /// Whether equal distances are equal ratios.
    pub is_log: bool,
}

impl Axis {
    /// An axis of equal differences. A range of nothing becomes one of something.
    pub fn linear(title: &str, low: f64, high: f64) -> Axis {
        Axis {
            title: title.into(),
            range: [low, if high > low { high } else { low + 1.0 }],
            is_log: false,
        }
    }

    /// An axis of powers of ten that holds all values, and `least` to `most`.
    pub fn decades(title: &str, least: f64, most: f64, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (least, most);
        for value in values.filter(|v| v.is_finite() && *v > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        Axis {
            title: title.into(),
            range: [
                10_f64.powf(low.log10().floor()),
                10_f64.powf(high.log10().ceil()),
            ],
            is_log: true,
        }
    }

    /// Where a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| {
            if self.is_log {
                v.max(f64::MIN_POSITIVE).ln()
            } else {
                v
            }
        };
        let [low, high] = self.range.map(scale);
        ((scale(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.range;
        if self.is_log {
            let powers = low.log10().round() as i32..=high.log10().round() as i32;
            return powers.map(|p| 10_f64.powi(p)).collect();
        }
        let unit = 10_f64.powf(((high - low) / TICKS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|k| k * unit);
        let fits = steps.iter().find(|step| (high - low) / **step <= TICKS);
        let step = fits.copied().unwrap_or(10.0 * unit);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).map(|k| k as f64 * step).collect()
    }
}

/// A number in few characters.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // As many digits as tell ticks apart, and no rounding of binary fractions.
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A point that is drawn as a circle.
#[derive(Clone, Debug, Default)]
pub struct Dot<'a> {
    /// Its values.
    pub at: (f64, f64),
    /// Units: pixels.
    pub radius: f64,
    /// Classes of the style.
    pub class: &'a str,
    /// The number of a step of a plan, for scripts.
    pub step: Option<usize>,
    /// What is shown when somebody points at it.
    pub title: &'a str,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Plot {
    x: Axis,
    y: Axis,
    body: String,
    legend: usize,
}

impl Plot {
    /// An empty frame.
    pub fn new(x: Axis, y: Axis) -> Plot {
        let mut plot = Plot {
            x,
            y,
            body: String::new(),
            legend: 0,
        };
        plot.grid();
        plot
    }

    fn grid(&mut self) {
        let [left, right, bottom, top] = FRAME;
        for value in self.x.ticks() {
            let x = self.place((value, 0.0)).0;
            self.rule([x, bottom, x, top], "grid");
            self.words([x, bottom + 14.0], "middle", "", &short(value));
        }
        for value in self.y.ticks() {
            let y = self.place((0.0, value)).1;
            self.rule([left, y, right, y], "grid");
            self.words([left - 6.0, y + 4.0], "end", "", &short(value));
        }
        let titles = [self.x.title.clone(), self.y.title.clone()];
        self.words([right, bottom + 29.0], "end", "", &titles[0]);
        // Above the frame: lines often begin in its corner.
        self.words([left, top - 8.0], "start", "", &titles[1]);
    }

    /// Where a point is, in pixels.
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, right, bottom, top] = FRAME;
        (
            left + self.x.at(x) * (right - left),
            bottom + self.y.at(y) * (top - bottom),
        )
    }

    fn rule(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    fn words(&mut self, [x, y]: [f64; 2], anchor: &str, class: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    }

    /// A line through points.
    pub fn line(&mut self, class: &str, title: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for point in points {
            let (x, y) = self.place(point);
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{x:.1},{y:.1} ");
        }
        let _ = writeln!(
            self.body,
            "<path class=\"{class}\" d=\"{}\"><title>{}</title></path>",
            path.trim_end(),
            escaped(title)
        );
    }

    /// A line that keeps each value until the next point, and the last one until `end`.
    pub fn steps(&mut self, class: &str, title: &str, points: &[(f64, f64)], end: f64) {
        let mut corners = Vec::new();
        for (k, (x, y)) in points.iter().enumerate() {
            let until = points.get(k + 1).map_or(end.max(*x), |next| next.0);
            corners.extend([(*x, *y), (until, *y)]);
        }
        self.line(class, title, corners.into_iter());
    }

    /// A circle.
    pub fn dot(&mut self, dot: &Dot<'_>) {
        let (x, y) = self.place(dot.at);
        let step = dot.step.map(|k| format!(" data-step=\"{k}\""));
        let _ = writeln!(
            self.body,
            "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\"{}><title>{}</title></circle>",
            dot.class,
            dot.radius,
            step.unwrap_or_default(),
            escaped(dot.title)
        );
    }

    /// Words above the middle of two points of equal height.
    pub fn label(&mut self, from: (f64, f64), to: (f64, f64), text: &str) {
        let ((x1, y1), (x2, _)) = (self.place(from), self.place(to));
        self.words([(x1 + x2) / 2.0, y1 - 5.0], "middle", "", text);
    }

    /// Words above the right end of a height.
    pub fn label_at_end(&mut self, y: f64, text: &str) {
        let y = self.place((0.0, y)).1;
        self.words([FRAME[1] - 4.0, y - 5.0], "end", "", text);
    }

    /// Words in the lower right corner.
    pub fn note(&mut self, text: &str) {
        self.words([FRAME[1] - 4.0, FRAME[2] - 8.0], "end", "halo", text);
    }

    /// The name of a line of a class, in the upper right corner below the last one.
    pub fn name(&mut self, class: &str, text: &str) {
        let y = FRAME[3] + 12.0 + 14.0 * self.legend as f64;
        self.legend += 1;
        let x = FRAME[1] - 4.0;
        self.words([x - 22.0, y], "end", "halo", text);
        self.rule([x - 18.0, y - 4.0, x, y - 4.0], class);
    }

    /// The picture as an element of a page.
    pub fn svg(&self) -> String {
        let [width, height] = SIZE;
        let body = &self.body;
        format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\">\n{body}</svg>\n")
    }

    /// The picture as a file.
    pub fn file(&self) -> String {
        let [width, height] = SIZE;
        let body = &self.body;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<style>\n{PLOT_STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" style=\"fill: var(--panel)\"/>\n{body}</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let ticks = |low, high| Axis::linear("", low, high).ticks();
        assert_eq!(ticks(0.0, 60.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(
            ticks(0.5, 1.0).map_short(),
            ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]
        );
        let values = [3.0, 250.0, f64::NAN, 0.0];
        let axis = Axis::decades("", 1.0, 10.0, values.into_iter());
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(
            [1e3, 2.5e6, 0.1 + 0.2].to_vec().map_short(),
            ["1k", "2.5M", "0.3"]
        );
    }

    trait Short {
        fn map_short(&self) -> Vec<String>;
    }

    impl Short for Vec<f64> {
        fn map_short(&self) -> Vec<String> {
            self.iter().map(|v| short(*v)).collect()
        }
    }

    #[test]
    fn what_lies_outside_is_drawn_at_the_end() {
        let mut plot = Plot::new(Axis::linear("x", 0.0, 1.0), Axis::linear("y", 0.0, 1.0));
        let dot = Dot {
            at: (5.0, -5.0),
            radius: 3.0,
            class: "before",
            step: Some(7),
            title: "a<b",
        };
        plot.dot(&dot);
        let svg = plot.svg();
        assert!(
            svg.contains("cx=\"546.0\" cy=\"318.0\" r=\"3.0\" data-step=\"7\""),
            "{svg}"
        );
        assert!(svg.contains("<title>a&lt;b</title>"), "{svg}");
        plot.steps("line", "", &[(0.0, 1.0), (0.5, 0.0)], 1.0);
        let corners = "d=\"M52.0,24.0 L299.0,24.0 L299.0,318.0 L546.0,318.0\"";
        assert!(plot.file().contains(corners), "{}", plot.file());
    }
}

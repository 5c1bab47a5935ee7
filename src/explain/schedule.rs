//! A scheduled kernel in one line: its loops, and the shape of what runs in lock step.
use std::fmt::Write;
use tensmith_codegen::kernel::KernelStats;
use tensmith_ir::loops::{Buffer, Kernel, Mark, Role, Scope, Stmt};

/// The loops of a kernel from the outermost to the innermost, and the layouts of buffers that are
/// not row-major: `parallel 98 > 4 > jam 8 > vector 16 > reduce 512; a3 layout(d1/16, d0, d1 mod
/// 16)`. Nests side by side stand in brackets, both sides of a branch after `if`.
pub fn loops_text(kernel: &Kernel) -> String {
    let mut out = nests(&kernel.body);
    if out.is_empty() {
        out.push_str("no loop");
    }
    let packed = |b: &&Buffer| b.scope != Scope::Register && !b.layout.is_row_major();
    for buffer in kernel.buffers.iter().filter(packed) {
        let _ = write!(out, "; {} {}", buffer.name, buffer.layout);
    }
    out
}

/// The nests of a list of statements; empty if it has no loop.
fn nests(stmts: &[Stmt]) -> String {
    let texts = stmts.iter().map(nest).filter(|text| !text.is_empty());
    let mut texts: Vec<String> = texts.collect();
    match texts.len() {
        0 => String::new(),
        1 => texts.remove(0),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn nest(stmt: &Stmt) -> String {
    let join = |head: String, rest: String| {
        if rest.is_empty() {
            head
        } else {
            format!("{head} > {rest}")
        }
    };
    match stmt {
        Stmt::Store { .. } => String::new(),
        Stmt::For(l) => {
            let word = match (l.mark, l.role) {
                (Mark::Parallel, _) => "parallel ",
                (Mark::Vector, Role::Reduce) => "vector reduce ",
                (Mark::Vector, _) => "vector ",
                (Mark::Jam, Role::Reduce) => "jam reduce ",
                (Mark::Jam, _) => "jam ",
                (Mark::Unroll, _) => "unroll ",
                (Mark::Plain, Role::Reduce) => "reduce ",
                (Mark::Plain, Role::Serial) => "serial ",
                (Mark::Plain, Role::Space) => "",
            };
            join(format!("{word}{}", l.extent), nests(&l.body))
        }
        Stmt::If {
            then, otherwise, ..
        } => match (nests(then), nests(otherwise)) {
            (a, b) if a.is_empty() && b.is_empty() => String::new(),
            (a, b) if b.is_empty() => format!("if ({a})"),
            (a, b) => format!("if ({a}) else ({b})"),
        },
        Stmt::Check { body, .. } => join("check".into(), nests(body)),
        Stmt::While { body, .. } => join("while".into(), nests(body)),
    }
}

/// How the work of a kernel is laid out: its largest register tile, else the lanes of its
/// vectors, and the width of the vectors that the code has.
pub fn recipe_text(kernel: &Kernel, stats: &KernelStats) -> String {
    let mut best = Tile::default();
    largest(&kernel.body, Tile::default(), &mut best);
    let width = stats.widest.map_or(128, |width| 8 * width.bytes());
    match (best.rows, best.lanes) {
        (0, 0) => "scalar".into(),
        (0, lanes) => format!("vector of {lanes}, {width}-bit"),
        (rows, 0) => format!("{rows} rows of scalars"),
        (rows, lanes) => format!("register tile {rows}x{lanes}, {width}-bit"),
    }
}

/// Lock-step loops around a statement: the product of the extents of `jam` loops and of `vector`
/// loops, 0 if there is none.
#[derive(Clone, Copy, Default)]
struct Tile {
    rows: i64,
    lanes: i64,
}

impl Tile {
    fn area(self) -> i64 {
        self.rows.max(1) * self.lanes.max(1)
    }
}

fn largest(stmts: &[Stmt], around: Tile, best: &mut Tile) {
    for stmt in stmts {
        let mut tile = around;
        if let Stmt::For(l) = stmt {
            let extent = l.extent.as_const().unwrap_or(1);
            match l.mark {
                Mark::Jam => tile.rows = tile.rows.max(1).saturating_mul(extent),
                Mark::Vector => tile.lanes = tile.lanes.max(1).saturating_mul(extent),
                _ => {}
            }
            if tile.area() > best.area() {
                *best = tile;
            }
        }
        for body in stmt.bodies() {
            largest(body, tile, best);
        }
    }
}

/// Nests of fewer iterations are not worth vectors.
const FEW_ITERATIONS: i64 = 64;
/// Nor are nests of a smaller part of the iterations of a kernel, such as the borders of an image.
const SMALL_PART: i64 = 16;

/// Nests without lanes that run at least [`FEW_ITERATIONS`] iterations and one in [`SMALL_PART`] of
/// the kernel, or an unknown number.
fn scalar_nests(kernel: &Kernel) -> usize {
    let all = sum(kernel.body.iter().map(iterations));
    let least = all.map_or(0, |n| n / SMALL_PART).max(FEW_ITERATIONS);
    scalar_nests_of(&kernel.body, 1, least)
}

/// As [`scalar_nests`], of statements that run `around` times.
fn scalar_nests_of(stmts: &[Stmt], around: i64, least: i64) -> usize {
    let count = |stmt: &Stmt| match stmt {
        Stmt::For(l) if l.mark == Mark::Vector => 0,
        Stmt::For(l) if !has_lanes(&l.body) => {
            let all = iterations(stmt).map(|n| n.saturating_mul(around));
            usize::from(all.is_none_or(|n| n >= least))
        }
        Stmt::For(l) => {
            let times = l.extent.as_const().unwrap_or(1).max(0);
            scalar_nests_of(&l.body, around.saturating_mul(times), least)
        }
        other => {
            let sides = other.bodies();
            let lanes = sides.iter().any(|b| has_lanes(b));
            // Beside a side with lanes, one without is the tail of a loop, which runs last.
            let around = |b: &[Stmt]| if lanes && !has_lanes(b) { 1 } else { around };
            let counts = sides.iter().map(|b| scalar_nests_of(b, around(b), least));
            counts.sum()
        }
    };
    stmts.iter().map(count).sum()
}

fn has_lanes(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Vector);
        own || s.bodies().into_iter().any(|b| has_lanes(b))
    })
}

/// Iterations of the innermost statements, of the longer side of a branch; `None` if they are not
/// known.
fn iterations(stmt: &Stmt) -> Option<i64> {
    let sides = stmt.bodies().into_iter();
    let sides: Option<Vec<i64>> = sides.map(|b| sum(b.iter().map(iterations))).collect();
    let inside = sides?.into_iter().max().unwrap_or(0).max(1);
    match stmt {
        Stmt::For(l) => Some(l.extent.as_const()?.max(0).saturating_mul(inside)),
        Stmt::While { .. } => None,
        _ => Some(inside),
    }
}

fn sum(mut counts: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    counts.try_fold(0_i64, |sum, n| Some(sum.saturating_add(n?)))
}

/// Why parts of a kernel run with narrower vectors than the target has, or with none; empty if
/// none does.
pub fn fallback_text(kernel: &Kernel, stats: &KernelStats) -> String {
    let mut reasons = Vec::new();
    match scalar_nests(kernel) {
        0 => {}
        1 => reasons.push("a nest runs element by element: no recipe makes vectors of it".into()),
        n => reasons.push(format!(
            "{n} nests run element by element: no recipe makes vectors of them"
        )),
    }
    if stats.narrow_tiles > 0 {
        let why = stats.narrow_reason.map(|r| format!(" because of {r}"));
        let why = why.unwrap_or_default();
        reasons.push(format!(
            "{} nests stay at 128 bits{why}",
            stats.narrow_tiles
        ));
    }
    if stats.scalarised_loops > 0 {
        let count = stats.scalarised_loops;
        reasons.push(format!("{count} vector loops run lane by lane"));
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_codegen::wide::vir::Width;
    use tensmith_ir::loops::parse_kernel;

    const TILED: &str = "kernel contract() {
  in a0: f32[64, 32] layout(d0/8, d1, d0 mod 8)
  out o1: f32[64]
  reg r2: f32[]
  for i0 < 4 space parallel {
    if [-i0 + 2] {
      for i1 < 2 space jam {
        for i2 < 8 space vector {
          r2 = 0.0f32
          for i3 < 32 reduce {
            r2 = r2 + a0[16*i0 + 8*i1 + i2, i3]
          }
          o1[16*i0 + 8*i1 + i2] = r2
        }
      }
    } else {
      for i4 < 16 space {
        o1[16*i0 + i4] = 0.0f32
      }
    }
  }
}
";

    #[test]
    fn loops_are_one_line() {
        let kernel = parse_kernel(TILED).unwrap();
        let expected = "parallel 4 > if (jam 2 > vector 8 > reduce 32) else (16); \
                        a0 layout(d0/8, d1, d0 mod 8)";
        assert_eq!(loops_text(&kernel), expected);
    }

    #[test]
    fn recipes_say_the_tile_and_the_width() {
        let kernel = parse_kernel(TILED).unwrap();
        let wide = KernelStats {
            wide_tiles: 1,
            widest: Some(Width::Y256),
            ..KernelStats::default()
        };
        let text = |stats: &KernelStats| recipe_text(&kernel, stats);
        assert_eq!(text(&wide), "register tile 2x8, 256-bit");
        assert_eq!(text(&KernelStats::default()), "register tile 2x8, 128-bit");
        assert_eq!(fallback_text(&kernel, &wide), "");
    }

    #[test]
    fn borders_are_no_nests_of_their_own() {
        let text = |inside: &str| {
            let text = format!(
                "kernel k() {{ in a: f32[64, 96] out o: f32[64, 96] \
                for i0 < 64 space {{ \
                  for i1 < 4 space {{ o[i0, i1] = a[i0, i1] }} \
                  for i2 < 92 space{inside} {{ o[i0, i2 + 4] = a[i0, i2 + 4] }} }} }}"
            );
            let kernel = parse_kernel(&text).unwrap();
            fallback_text(&kernel, &KernelStats::default())
        };
        assert_eq!(text(" vector"), "");
        assert!(text("").starts_with("a nest runs"));
    }

    #[test]
    fn nests_without_lanes_are_named() {
        let text = "kernel k() { in a: f32[64, 64] out o: f32[64, 64] \
                    for i0 < 64 space { for i1 < 64 space { o[i0, i1] = a[i1, i0] } } }";
        let kernel = parse_kernel(text).unwrap();
        assert_eq!(
            fallback_text(&kernel, &KernelStats::default()),
            "a nest runs element by element: no recipe makes vectors of it"
        );
    }
}

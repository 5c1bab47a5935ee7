//! Each primitive turns the kernel before into the kernel after, as its file says, and text forms
//! read back.
use super::*;
use crate::schedule::trace::{Trace, replay};
use tensmith_ir::loops::{parse_kernel, verify_kernel};

/// The lines of the comment at the head of a file.
fn head(source: &str) -> Vec<&str> {
    let comment = source.lines().map_while(|l| l.strip_prefix("//!"));
    comment.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect()
}

/// The kernel that follows a heading.
fn stated(source: &str, heading: &str) -> Kernel {
    let head = head(source);
    let from = head.iter().position(|l| *l == heading);
    let from = from.unwrap_or_else(|| panic!("no `{heading}`"));
    let text: Vec<&str> = head[from + 2..]
        .iter()
        .copied()
        .take_while(|l| *l != "```")
        .collect();
    let kernel = parse_kernel(&text.join("\n")).unwrap_or_else(|e| panic!("{heading} {e}"));
    verify_kernel(&kernel).unwrap_or_else(|e| panic!("{heading} {e}"));
    kernel
}

fn schedule(source: &str) -> Trace {
    let lines = head(source);
    let line = lines.iter().find_map(|l| l.strip_prefix("Schedule: `"));
    let line = line.expect("no `Schedule:`").trim_end_matches('`');
    line.parse().unwrap_or_else(|e| panic!("{line}: {e}"))
}

/// The file of a primitive.
fn source(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/schedule/primitives");
    let path = format!("{folder}/{name}.rs");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn before_and_after() {
    for name in Primitive::NAMES {
        let source = &source(name);
        let trace = schedule(source);
        assert!(trace.steps().all(|p| p.name() == name), "{name}: {trace}");
        let want = stated(source, "After:");
        let mut found = replay(stated(source, "Before:"), &trace).expect(name);
        verify_kernel(&found).expect(name);
        found.vars = want.vars;
        assert_eq!(found.to_string(), want.to_string(), "{name}");
        let printed = trace.to_string();
        assert_eq!(printed.parse().as_ref(), Ok(&trace), "{name}");
    }
}

fn kernel(body: &str) -> Kernel {
    let text = format!(
        "kernel k($n in 0..=9) {{ in a: f32[16, 16] in i: i64[16] out o: f32[16, 16] \
         out p: f32[16] reg r: f32[] reg s: f32[] scratch t: f32[16] {body} }}"
    );
    let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_kernel(&kernel).unwrap_or_else(|e| panic!("{e}\n{text}"));
    kernel
}

/// The reason why a schedule does not apply, in words.
fn reason(body: &str, schedule: &str) -> String {
    let before = kernel(body);
    let trace: Trace = schedule
        .parse()
        .unwrap_or_else(|e| panic!("{schedule}: {e}"));
    let error = replay(before.clone(), &trace).expect_err(schedule);
    error.reason.show(&before).to_string()
}

#[test]
fn rejections_name_loops_and_buffers() {
    let copy = "for i0 < 16 space { for i1 < 16 space { o[i0, i1] = a[i0, i1] } }";
    let sum = "for i0 < 16 space { r = 0.0f32 for i1 < 16 reduce { r = r + a[i0, i1] } p[i0] = r }";
    let scan = "r = 0.0f32 for i0 < 16 serial { r = r + a[0, i0] p[i0] = r }";
    let triangle = "for i0 < 16 space { for i1 < 16 - i0 space { o[i0, i1] = a[i0, i1] } }";
    let two = "for i0 < 16 space { t[i0] = a[i0, 0] p[i0] = t[i0] }";
    let beside = |first: &str, extent: &str| {
        format!(
            "for i0 < 3 space {{ p[{first}] = 0.0f32 }} for i1 < {extent} space {{ p[i1] = a[i1, 0] }}"
        )
    };
    let [apart, meet, none] =
        [("i0 + 9", "9"), ("i0 + 8", "9"), ("i0 + 9", "$n")].map(|(i, n)| beside(i, n));
    kernel(&apart);
    for (body, schedule, want) in [
        (copy, "split i7 by 4", "there is no loop i7"),
        (
            &apart,
            "attach i1, i0",
            "loop i0 does not follow on loop i1",
        ),
        (
            &meet,
            "attach i0, i1",
            "`p` outlives an iteration of loop i0",
        ),
        (&none, "attach i0, i1", "the extent of loop i1 does not fit"),
        (copy, "split i0 by 16", "nothing would change"),
        (copy, "split i0 by 0", "0 is out of range"),
        (
            copy,
            "fuse i1, i0",
            "loops i0 and i1 are not nested perfectly",
        ),
        (copy, "unroll i0 jam i0", "loop i0 has a mark"),
        (copy, "parallelize i1", "loop i1 is not outermost"),
        (
            copy,
            "vectorize i0 vectorize i1",
            "the body of loop i1 has no form for lanes",
        ),
        (
            copy,
            "set_layout o layout(d1, d0)",
            "`o` is used in another way",
        ),
        (
            copy,
            "set_layout a layout(d0)",
            "the layout does not tell all elements of `a` apart",
        ),
        (
            copy,
            "set_layout b layout(d0)",
            "there is no buffer of this name",
        ),
        (copy, "prefetch o by 64", "`o` is used in another way"),
        (copy, "prefetch a by -1", "-1 is out of range"),
        (copy, "peel i0", "nothing would change"),
        (
            copy,
            "split i0 by 4 -> i8, i9",
            "the step makes other loops than it says",
        ),
        (
            sum,
            "reorder i1, i0",
            "loops i1 and i0 are not nested perfectly",
        ),
        (sum, "rfactor i0", "the body of loop i0 is of another kind"),
        (
            sum,
            "fission i0 at 1",
            "`r` outlives an iteration of loop i0",
        ),
        (sum, "inline r", "`r` is used in another way"),
        (
            scan,
            "vectorize i0",
            "the iterations of loop i0 must keep their order",
        ),
        (
            scan,
            "parallelize i0",
            "the iterations of loop i0 must keep their order",
        ),
        (
            triangle,
            "reorder i1, i0",
            "the extent of loop i1 depends on i0",
        ),
        (
            triangle,
            "jam i0",
            "what runs depends on the iteration of loop i0",
        ),
        (
            two,
            "fission i0 at 1",
            "`t` outlives an iteration of loop i0",
        ),
    ] {
        assert_eq!(reason(body, schedule), want, "{schedule}");
    }
}

#[test]
fn loops_are_forwarded() {
    let mut k = kernel("for i0 < 10 space { for i1 < 16 space { o[i0, i1] = a[i0, i1] } }");
    let split = Primitive::Split(Var(0), 4).apply(&mut k).expect("it fits");
    assert_eq!(split.of(Var(0)), [Var(2), Var(3)]);
    assert_eq!(split.of(Var(1)), [Var(1)]);
    let peeled = Primitive::Peel(vec![Var(3)])
        .apply(&mut k)
        .expect("it fits");
    assert_eq!(peeled.of(Var(3)), peeled.made);
    assert_eq!(peeled.of(Var(1)).len(), 2, "one in each branch");
    assert!(peeled.exact);
}

/// Blocks of tiles of which the last is short: the tail is in the last block only, and its extent a
/// number there.
#[test]
fn tails_in_blocks_of_tiles_have_a_number_as_extent() {
    let mut k = kernel("for i0 < 10 space { for i1 < 16 space { o[i0, i1] = a[i0, i1] } }");
    let mut apply = |p: Primitive| p.apply(&mut k).expect("it fits");
    let tiles = apply(Primitive::Split(Var(1), 3)).made;
    apply(Primitive::Split(tiles[0], 4));
    let peeled = apply(Primitive::Peel(vec![tiles[1]])).made;
    let extent = |v: &Var| {
        let (_, l) = super::edit::find(&k, *v).expect("it is there");
        l.extent.as_const()
    };
    let extents: Vec<_> = peeled.iter().map(extent).collect();
    assert_eq!(extents, [Some(3), Some(1)]);
}

#[test]
fn sums_say_that_they_reorder() {
    let sum = "for i0 < 16 space { r = 0.0f32 for i1 < 16 reduce { r = r + a[i0, i1] } p[i0] = r }";
    for (primitive, exact) in [
        (Primitive::Split(Var(1), 4), true),
        (Primitive::Rfactor(Var(1)), false),
        (Primitive::Vectorize(Var(1)), false),
        (Primitive::Jam(Var(0)), true),
    ] {
        let forwarded = primitive.apply(&mut kernel(sum)).expect("it fits");
        assert_eq!(forwarded.exact, exact, "{primitive}");
    }
}

#[test]
fn a_serial_loop_around_parallel_ones_stays() {
    let text = "kernel k() { in a: f32[8] out o: f32[8] scratch t: f32[8]
        for i0 < 1 serial {
            for i1 < 8 space parallel { t[i1] = exp(a[i1]) }
            for i2 < 8 space parallel { o[i2] = t[7 - i2] } } }";
    let mut kernel = parse_kernel(text).unwrap();
    verify_kernel(&kernel).unwrap();
    let before = kernel.clone();
    let drop = Primitive::DropUnitLoops(vec![Var(0)]);
    assert_eq!(drop.apply(&mut kernel), Err(Rejected::Team));
    assert_eq!(kernel, before);
}

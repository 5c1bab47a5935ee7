//! Blocks of elements that lie far apart along vectors, and stores that wait for their neighbours,
//! against the loop interpreter at every width, in buffers that begin and end at unmapped pages.
mod support;

use support::{Edge, inputs, kernel, plan_of, run_for, same, targets};
use tensmith_codegen::jit::JitCode;
use tensmith_ir::loops::interp::run_kernel;

/// Rows and columns around whole blocks of both widths.
const COUNTS: [usize; 11] = [1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 33];

/// Holds a kernel to the interpreter; wide targets must run it as one wide tile.
fn check(text: &str, sizes: &[i64]) {
    let kernel = kernel(text);
    let args = inputs(&kernel, sizes);
    let want = run_kernel(&kernel, sizes, &args).unwrap();
    for target in targets() {
        let code = JitCode::compile(&plan_of(kernel.clone()), &target).unwrap();
        let tiles = usize::from(target.wide.is_some());
        assert_eq!(code.stats[0].wide_tiles, tiles, "{kernel}");
        for edge in [Edge::End, Edge::Begin] {
            let got = run_for(&target, &kernel, sizes, &args, 1, edge).unwrap();
            same(&want, &got).unwrap_or_else(|e| panic!("{:?}: {e}\n{kernel}", target.wide));
        }
    }
}

/// Loops over blocks of `rows` in lock step times a vector of `columns`, around a statement.
fn blocks(buffers: &str, rows: usize, columns: usize, statement: &str) -> String {
    format!(
        "kernel k() {{ {buffers} for i0 < 2 space {{ for i1 < {rows} space jam {{ \
         for i2 < {columns} space vector {{ {statement} }} }} }} }}"
    )
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    COUNTS
        .into_iter()
        .flat_map(|r| COUNTS.into_iter().map(move |c| (r, c)))
        // Fewer columns take the 128-bit path.
        .filter(|(_, c)| *c > 4)
}

#[test]
fn loads_are_turned() {
    for (rows, columns) in pairs() {
        let buffers = format!(
            "in a: f32[2, {columns}, {rows}] in b: f32[{rows}] out o: f32[2, {rows}, {columns}]"
        );
        let statement = "o[i0, i1, i2] = a[i0, i2, i1] * 3.0f32 + b[i1]";
        check(&blocks(&buffers, rows, columns, statement), &[]);
    }
}

#[test]
fn loads_of_blocks_of_bytes_are_turned() {
    for (rows, columns) in pairs() {
        let buffers = format!(
            "in a: f32[2, {columns}, {rows}] in b: f32[{rows}] out o: u8[2, {rows}, {columns}] \
             reg r: f32[]"
        );
        let statement = "r = round(a[i0, i2, i1] * 90.0f32) + b[i1] \
             o[i0, i1, i2] = u8(min(max(r + 128.0f32, 0.0f32), 255.0f32))";
        check(&blocks(&buffers, rows, columns, statement), &[]);
    }
}

#[test]
fn stores_are_turned() {
    for (rows, columns) in pairs() {
        let buffers = format!(
            "in a: f32[2, {rows}, {columns}] in b: f32[{rows}] out o: f32[2, {columns}, {rows}]"
        );
        let statement = "o[i0, i2, i1] = a[i0, i1, i2] * 3.0f32 + b[i1]";
        check(&blocks(&buffers, rows, columns, statement), &[]);
    }
}

/// The phases of an image that is put together lie in channels of their own.
#[test]
fn loads_and_stores_at_uneven_distances_are_turned() {
    for (rows, columns) in [(16, 16), (3, 20), (5, 33), (17, 9)] {
        for block in [2, 3] {
            let half = columns / block + 1;
            let uneven = format!("mod(i2, {block}), div(i2, {block}), i1");
            let buffers =
                format!("in a: f32[2, {block}, {half}, {rows}] out o: f32[2, {rows}, {columns}]");
            let statement = format!("o[i0, i1, i2] = a[i0, {uneven}] + 1.0f32");
            check(&blocks(&buffers, rows, columns, &statement), &[]);
            // Stores must reach all elements.
            if columns % block != 0 {
                continue;
            }
            let half = columns / block;
            let buffers =
                format!("in a: f32[2, {rows}, {columns}] out o: f32[2, {block}, {half}, {rows}]");
            let statement = format!("o[i0, {uneven}] = a[i0, i1, i2] + 1.0f32");
            check(&blocks(&buffers, rows, columns, &statement), &[]);
        }
    }
}

#[test]
fn loads_near_each_other_are_picked_out_of_vectors() {
    for step in [-3, -1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 16, 17] {
        for columns in [5, 8, 9, 16, 30, 33] {
            let last = (columns - 1) * i64::abs(step);
            let first = if step < 0 { last } else { 0 };
            let text = format!(
                "kernel k() {{ in a: f32[2, {}] out o: f32[2, {columns}] for i0 < 2 space {{ \
                 for i1 < {columns} space vector {{ o[i0, i1] = a[i0, {step}*i1 + {first}] }} }} }}",
                last + 1
            );
            check(&text, &[]);
        }
    }
}

/// Windows of which each begins `step` elements behind the one before.
#[test]
fn taps_of_windows_are_chosen_out_of_vectors() {
    for step in 2..=9 {
        for (taps, columns) in [(2, 5), (3, 16), (5, 17), (4, 24), (7, 50)] {
            let width = (columns - 1) * step + taps;
            let text = format!(
                "kernel k() {{ in a: f32[3, 2, {width}] out o: f32[3, {columns}] reg r: f32[] \
                 for i0 < 3 space jam {{ for i1 < {columns} space vector {{ r = -inf_f32 \
                 for i2 < 2 reduce {{ for i3 < {taps} reduce unroll {{ \
                 r = max(r, a[i0, i2, {step}*i1 + i3]) }} }} o[i0, i1] = r }} }} }}"
            );
            check(&text, &[]);
        }
    }
}

#[test]
fn both_sides_are_turned() {
    for (rows, columns) in [(16, 16), (5, 33), (17, 9)] {
        let buffers = format!("in a: f32[2, {columns}, {rows}] out o: f32[2, {columns}, {rows}]");
        let statement = "o[i0, i2, i1] = a[i0, i2, i1] + 1.0f32";
        check(&blocks(&buffers, rows, columns, statement), &[]);
    }
}

/// What a guard forbids is not loaded: it lies beyond the buffer.
#[test]
fn guards_on_the_rows_keep_blocks_apart() {
    for (rows, columns) in [(16, 16), (6, 20)] {
        let inner = rows - 2;
        let last = rows - 2;
        let buffers = format!("in a: f32[2, {columns}, {inner}] out o: f32[2, {rows}, {columns}]");
        let statement =
            format!("o[i0, i1, i2] = guard([i1 - 1, -i1 + {last}], a[i0, i2, i1 - 1], 0.5f32)");
        check(&blocks(&buffers, rows, columns, &statement), &[]);
    }
}

#[test]
fn distances_known_at_run_time_are_turned() {
    for n in [3, 16, 40] {
        let text = "kernel k($n in 1..=64) { in a: f32[20, $n] out o: f32[$n, 20] \
                    for i0 < $n space { for i1 < 1 space jam { for i2 < 20 space vector { \
                    o[i0 + i1, i2] = a[i2, i0 + i1] } } } }";
        check(text, &[n]);
    }
}

#[test]
fn neighbouring_stores_wait_for_each_other() {
    for columns in [5, 8, 16, 20, 37] {
        let text = format!(
            "kernel k() {{ in a: f32[6, {columns}] out o: f32[{columns}, 30] \
             for i0 < 5 space {{ for i1 < {columns} space vector {{ \
             o[i1, 6*i0 + 2] = a[2, i1] o[i1, 6*i0] = a[0, i1] o[i1, 6*i0 + 1] = a[1, i1] \
             o[i1, 6*i0 + 5] = a[5, i1] o[i1, 6*i0 + 3] = a[3, i1] + a[4, i1] \
             o[i1, 6*i0 + 4] = a[4, i1] }} }} }}"
        );
        check(&text, &[]);
    }
}

/// Rows of one to nine elements, which are parts of longer ones.
#[test]
fn neighbouring_loads_are_turned() {
    for columns in [5, 7, 8, 13, 16, 17, 33] {
        for count in 1..=9 {
            let buffers = format!(
                "in a: f32[2, {columns}, 37] in b: f32[{columns}] out o: f32[2, {count}, {columns}]"
            );
            let store = |k| format!("o[i0, {k}, i1] = fma(a[i0, i1, {}], 3.0f32, b[i1])", 28 + k);
            let stores: Vec<String> = (0..count).map(store).collect();
            let text = format!(
                "kernel k() {{ {buffers} for i0 < 2 space {{ for i1 < {columns} space vector {{ \
                 {} }} }} }}",
                stores.join(" ")
            );
            check(&text, &[]);
        }
    }
}

/// What is read under a condition may not exist elsewhere.
#[test]
fn loads_under_conditions_are_no_neighbours() {
    let text = "kernel k() { in a: f32[24, 40] out o: f32[4, 24] for i0 < 2 space { \
                for i1 < 24 space vector { o[i0, i1] = a[i1, i0 + 38] \
                o[i0 + 2, i1] = guard([-i0], a[i1, i0 + 39], 0.0f32) } } }";
    check(text, &[]);
}

#[test]
fn the_last_of_several_stores_to_an_element_counts() {
    let text = "kernel k() { in a: f32[6, 16] out o: f32[16, 20] \
                for i0 < 5 space { for i1 < 16 space vector { \
                o[i1, 4*i0] = a[0, i1] o[i1, 4*i0 + 1] = a[1, i1] o[i1, 4*i0] = a[2, i1] \
                o[i1, 4*i0 + 2] = a[3, i1] o[i1, 4*i0 + 3] = a[4, i1] \
                o[i1, 4*i0 + 2] = a[5, i1] } } }";
    check(text, &[]);
}

/// A branch ends the wait.
#[test]
fn stores_do_not_wait_beyond_branches() {
    let text = "kernel k() { in a: f32[6, 16] out o: f32[16, 20] \
                for i0 < 5 space { for i1 < 16 space vector { \
                o[i1, 4*i0] = a[0, i1] o[i1, 4*i0 + 1] = a[1, i1] \
                if [i0 - 2] { o[i1, 4*i0] = a[2, i1] } else { o[i1, 4*i0 + 1] = a[3, i1] } \
                o[i1, 4*i0 + 2] = a[4, i1] o[i1, 4*i0 + 3] = a[5, i1] } } }";
    check(text, &[]);
}

/// Rows of a block that have no elements, and whole blocks without.
#[test]
fn guards_on_remainders_of_rows_are_decided() {
    for (rows, columns) in [(16, 16), (6, 20), (15, 9)] {
        let (blocks_of_rows, half) = (3, rows / 3 + 1);
        let buffers = format!(
            "in a: f32[1, {half}, {columns}] out o: f32[2, {columns}, {rows}] reg r: f32[]"
        );
        let phase = format!("mod(i1, {blocks_of_rows})");
        let statement = format!(
            "r = guard([-i0, 1 - {phase}, {phase} - 1], a[i0, div(i1, {blocks_of_rows}), i2], 0.5f32) \
             o[i0, i2, i1] = r * 2.0f32"
        );
        check(&blocks(&buffers, rows, columns, &statement), &[]);
    }
}

/// Blocks that lie in one of two operands in whole: the numbers of their loops choose, once a block.
#[test]
fn blocks_of_one_operand_are_turned() {
    for (rows, columns) in [(16, 16), (5, 33), (17, 9)] {
        let buffers = format!(
            "in a: f32[{columns}, {rows}] in b: f32[{rows}, {columns}] out o: f32[2, {rows}, {columns}]"
        );
        let first = format!("[-{rows}*i0 - i1 + {}]", rows - 1);
        let second = format!("[{rows}*i0 + i1 - {rows}]");
        let statement = format!(
            "o[i0, i1, i2] = guard({first}, a[i2, {rows}*i0 + i1], guard({second}, b[{rows}*i0 + i1 - {rows}, i2], 0.5f32))"
        );
        check(&blocks(&buffers, rows, columns, &statement), &[]);
    }
}

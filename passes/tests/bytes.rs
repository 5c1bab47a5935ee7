//! Recipes of kernels between floats and bytes: tiles of sums of products of bytes, and the bytes
//! that they are made of.
mod common;

use common::wide_core;
use tensmith_ir::loops::{Kernel, Mark, Stmt, parse_kernel};
use tensmith_passes::schedule::{Target, default_schedule};

/// A machine with wide vectors and dot products of bytes.
fn target(vector_bytes: usize) -> Target {
    Target {
        vector_bytes,
        fma: true,
        dots: true,
        cost: wide_core(),
        ..Target::default()
    }
}

fn scheduled(text: &str, vector_bytes: usize) -> Kernel {
    let kernel = parse_kernel(text).unwrap();
    default_schedule(kernel, &target(vector_bytes), &|b| b.0 == 3).kernel
}

/// The extents of loops in lock step around vectors.
fn rows(stmts: &[Stmt]) -> Vec<i64> {
    let mut found = vec![];
    for stmt in stmts {
        if let Stmt::For(l) = stmt
            && l.mark == Mark::Jam
            && matches!(&l.body[..], [Stmt::For(v)] if v.mark == Mark::Vector)
        {
            found.extend(l.extent.as_const());
        }
        found.extend(stmt.bodies().into_iter().flat_map(|b| rows(b)));
    }
    found
}

/// Sums of channels-last bytes whose results are row-major have tiles of positions, which lie side
/// by side in the result, and of channels.
#[test]
fn sums_with_row_major_results_have_rows() {
    for (channels, outputs, side) in [(64, 256, 56), (128, 512, 28), (256, 1024, 14)] {
        let text = format!(
            "kernel conv() {{
  out o0: f32[1, {outputs}, {side}, {side}]
  reg r1: i32[]
  in a2: u8[1, {channels}, {side}, {side}] layout(d0, d2, d3, d1)
  in a3: i8[{outputs}, {channels}, 1, 1]
  in a4: f32[{outputs}, 1, 1]
  for i0 < 1 space {{ for i1 < {outputs} space {{ for i2 < {side} space {{ for i3 < {side} space {{
    r1 = 0i32
    for i4 < {channels} reduce {{
      r1 = r1 + i32(a2[0, i4, i2, i3]) * i32(a3[i1, i4, 0, 0])
    }}
    o0[i0, i1, i2, i3] = max(f32(r1) * a4[i1, 0, 0], 0.0f32)
  }} }} }} }}
}}"
        );
        let kernel = scheduled(&text, 64);
        let rows = rows(&kernel.body);
        assert!(rows.iter().any(|n| *n >= 8), "{kernel}");
    }
}

/// Channels-last bytes of row-major floats are made by blocks, which are turned in registers.
#[test]
fn row_major_floats_are_turned_to_channels_last_bytes() {
    for vector_bytes in [32, 64] {
        let text = "kernel quantise() {
  out o0: u8[1, 64, 20, 20] layout(d0, d2, d3, d1)
  reg r1: f32[]
  in a2: f32[1, 64, 20, 20]
  for i0 < 1 space { for i1 < 64 space { for i2 < 20 space { for i3 < 20 space {
    r1 = round(a2[i0, i1, i2, i3] * 33.0f32) + 128.0f32
    o0[i0, i1, i2, i3] = u8(min(max(r1, 0.0f32), 255.0f32))
  } } } }
}";
        let kernel = scheduled(text, vector_bytes);
        assert!(!rows(&kernel.body).is_empty(), "{kernel}");
    }
}

/// A padded row is cut where its border ends, and what lies inside has no condition along it.
#[test]
fn padded_rows_are_vectors() {
    let text = "kernel padded() {
  out o0: f32[1, 3, 34, 34]
  reg r1: f32[]
  in a2: f32[1, 3, 32, 32]
  for i0 < 1 space { for i1 < 3 space { for i2 < 34 space { for i3 < 34 space {
    r1 = 0.0f32
    if [i2 - 1, -i2 + 32, i3 - 1, -i3 + 32] {
      r1 = round(a2[0, i1, i2 - 1, i3 - 1] * 33.0f32)
    }
    o0[i0, i1, i2, i3] = r1
  } } } }
}";
    let kernel = scheduled(text, 64);
    let mut vectors = 0;
    let mut todo: Vec<&Stmt> = kernel.body.iter().collect();
    while let Some(stmt) = todo.pop() {
        vectors += usize::from(matches!(stmt, Stmt::For(l) if l.mark == Mark::Vector));
        todo.extend(stmt.bodies().into_iter().flatten());
    }
    assert!(vectors > 0, "{kernel}");
}

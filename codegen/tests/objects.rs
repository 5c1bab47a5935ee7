//! Object files: linked by the C compiler into a program that runs a kernel with a wide tile.
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use support::plan_of;
use tensmith_codegen::header::c_header;
use tensmith_codegen::module::tiles_asm;
use tensmith_codegen::object::write_object;
use tensmith_codegen::target::Target;
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::loops::{parse_kernel, verify_kernel};
use tensmith_ir::tensor::Tensor;

const KERNEL: &str = "
kernel contraction($n in 1..=64, $k in 0..=64) {
  in a0: f32[4*$n, $k] in b1: f32[$k, 13] in c2: f32[13]
  out o3: f32[4*$n, 13] reg r4: f32[] reg r5: f32[]
  for i0 < $n space parallel {
    for i1 < 4 space jam {
      for i2 < 13 space vector {
        r4 = 0.0f32
        for i3 < $k reduce { r4 = fma(a0[4*i0 + i1, i3], b1[i3, i2], r4) }
        r5 = r4 + c2[i2]
        o3[4*i0 + i1, i2] = max(r5, 0.0f32)
      }
    }
  }
}";

/// Reads three inputs of the lengths that its arguments give, after the two sizes.
const PROGRAM: &str = r#"
#include "contraction.h"
#include <stdio.h>
#include <stdlib.h>

static void *room(long bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

int main(int argc, char **argv) {
  if (argc != 7) return 100;
  int64_t sizes[2] = {atol(argv[1]), atol(argv[2])};
  float *inputs[3];
  for (int k = 0; k < 3; k++) {
    size_t count = (size_t)atol(argv[3 + k]);
    inputs[k] = room((long)count * 4);
    if (fread(inputs[k], 4, count, stdin) != count) return 101;
  }
  size_t count = (size_t)atol(argv[6]);
  float *output = room((long)count * 4);
  void *outputs[1] = {output};
  int code = contraction_run((const void *const *)inputs, outputs, sizes,
                             room(contraction_arena_bytes(sizes)),
                             room(contraction_scratch_bytes(sizes)));
  if (code != 0) return code;
  return fwrite(output, 4, count, stdout) == count ? 0 : 102;
}
"#;

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds the program for a target.
fn build(target: &Target, dir: &Path) {
    let kernel = parse_kernel(KERNEL).unwrap();
    verify_kernel(&kernel).unwrap();
    let plan = plan_of(kernel.clone());
    let header = c_header(&plan, "contraction");
    let object = write_object(&plan, &[], target, "contraction").unwrap();
    std::fs::write(dir.join("contraction.h"), header).unwrap();
    std::fs::write(dir.join("contraction.o"), object).unwrap();
    std::fs::write(dir.join("main.c"), PROGRAM).unwrap();
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pie", "-fPIE"];
    let cc = Command::new("cc")
        .args(flags)
        .args(["main.c", "contraction.o", "-o", "main"])
        .current_dir(dir)
        .output()
        .expect("a C compiler");
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
}

fn run(dir: &Path, sizes: [usize; 2], inputs: &[Tensor], count: usize) -> Vec<u8> {
    let counts = inputs.iter().map(|t| t.shape.iter().product::<usize>());
    let args: Vec<String> = sizes
        .into_iter()
        .chain(counts)
        .chain([count])
        .map(|n| n.to_string())
        .collect();
    let bytes: Vec<u8> = inputs.iter().flat_map(|t| t.data.to_vec()).collect();
    std::fs::write(dir.join("inputs"), bytes).unwrap();
    let stdin = std::fs::File::open(dir.join("inputs")).unwrap();
    let out = Command::new(dir.join("main"))
        .args(args)
        .stdin(Stdio::from(stdin))
        .output()
        .unwrap();
    assert!(out.status.success(), "{:?}", out.status);
    out.stdout
}

#[test]
fn wide_tiles_in_object_files() {
    let host = Target::host();
    for name in ["x86-64-v2", "x86-64-v3", "x86-64-v4"] {
        let target = Target::named(name).unwrap();
        if !target.features.iter().all(|f| host.features.contains(f)) {
            continue;
        }
        let kernel = parse_kernel(KERNEL).unwrap();
        let tiles = tiles_asm(&kernel, &target).unwrap();
        assert_eq!(tiles.len(), usize::from(name != "x86-64-v2"));
        let dir = Scratch::new(name);
        build(&target, &dir.0);
        for [n, k] in [[1, 0], [1, 1], [5, 64], [64, 17]] {
            let inputs = [vec![4 * n, k], vec![k, 13], vec![13]].map(|shape| {
                let count = shape.iter().product();
                let value = |x: usize| ((x * 7919 + 13) % 1013) as f32 / 337.0 - 1.5;
                Tensor::from_f32(shape, &(0..count).map(value).collect::<Vec<_>>())
            });
            let want = run_kernel(&kernel, &[n as i64, k as i64], &inputs).unwrap();
            let got = run(&dir.0, [n, k], &inputs, 4 * n * 13);
            // The interpreter rounds multiply-adds once; so does every target.
            assert_eq!(want[0].data.to_vec(), got, "{name} n={n} k={k}");
        }
    }
}

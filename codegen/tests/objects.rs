//! Object files: linked by the C compiler into a program that runs a kernel with a wide tile, on
//! one thread and on threads of its own.
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

/// Reads three inputs of the lengths that its arguments give, after the two sizes. The last two
/// arguments are who runs the parts, and how many there are at most.
const PROGRAM: &str = r#"
#include "contraction.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *room(long bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

struct part { void (*body)(void *, uint32_t); void *arg; uint32_t number; };

static void *run_part(void *p) {
  struct part *part = p;
  part->body(part->arg, part->number);
  return NULL;
}

/* A thread for each part. */
static void threaded(void *user, void (*body)(void *, uint32_t), void *arg, uint32_t parts) {
  struct part *all = calloc(parts, sizeof *all);
  pthread_t *threads = calloc(parts, sizeof *threads);
  for (uint32_t k = 0; k < parts; k++) {
    all[k] = (struct part){body, arg, k};
    if (pthread_create(&threads[k], NULL, run_part, &all[k])) exit(103);
  }
  for (uint32_t k = 0; k < parts; k++) pthread_join(threads[k], NULL);
  free(all);
  free(threads);
  ++*(int *)user;
}

static void backwards(void *user, void (*body)(void *, uint32_t), void *arg, uint32_t parts) {
  while (parts-- > 0) body(arg, parts);
  ++*(int *)user;
}

static void lazy(void *user, void (*body)(void *, uint32_t), void *arg, uint32_t parts) {
  for (uint32_t k = 1; k < parts; k++) body(arg, k);
  ++*(int *)user;
}

static void twice(void *user, void (*body)(void *, uint32_t), void *arg, uint32_t parts) {
  for (uint32_t k = 0; k <= parts; k++) body(arg, k % parts);
  ++*(int *)user;
}

int main(int argc, char **argv) {
  if (argc != 9) return 100;
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
  const void *const *in = (const void *const *)inputs;
  void *arena = room(contraction_arena_bytes(sizes));
  uint32_t threads = (uint32_t)atol(argv[8]);
  void *scratch = room(contraction_scratch_bytes(sizes) * threads);
  contraction_parallel_for by = strcmp(argv[7], "threaded") == 0 ? threaded
      : strcmp(argv[7], "backwards") == 0 ? backwards
      : strcmp(argv[7], "lazy") == 0 ? lazy
      : strcmp(argv[7], "twice") == 0 ? twice : NULL;
  int calls = 0;
  int code = strcmp(argv[7], "plain") == 0
      ? contraction_run(in, outputs, sizes, arena, scratch)
      : contraction_run_parallel(in, outputs, sizes, arena, scratch, by, &calls, threads);
  if (calls != (by && threads > 1 && sizes[0] > 1)) return 104;
  if (fwrite(output, 4, count, stdout) != count) return 102;
  return code;
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
        .args(["-pthread", "main.c", "contraction.o", "-o", "main"])
        .current_dir(dir)
        .output()
        .expect("a C compiler");
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
}

/// The exit code and the output of the program; `by` is who runs the parts, and how many.
fn run(
    dir: &Path,
    sizes: [usize; 2],
    inputs: &[Tensor],
    count: usize,
    (who, threads): (&str, usize),
) -> (Option<i32>, Vec<u8>) {
    let counts = inputs.iter().map(|t| t.shape.iter().product::<usize>());
    let numbers = sizes.into_iter().chain(counts).chain([count]);
    let bytes: Vec<u8> = inputs.iter().flat_map(|t| t.data.to_vec()).collect();
    std::fs::write(dir.join("inputs"), bytes).unwrap();
    let stdin = std::fs::File::open(dir.join("inputs")).unwrap();
    let out = Command::new(dir.join("main"))
        .args(numbers.map(|n| n.to_string()))
        .args([who, &threads.to_string()])
        .stdin(Stdio::from(stdin))
        .output()
        .unwrap();
    (out.status.code(), out.stdout)
}

fn inputs(n: usize, k: usize) -> [Tensor; 3] {
    [vec![4 * n, k], vec![k, 13], vec![13]].map(|shape| {
        let count = shape.iter().product();
        let value = |x: usize| ((x * 7919 + 13) % 1013) as f32 / 337.0 - 1.5;
        Tensor::from_f32(shape, &(0..count).map(value).collect::<Vec<_>>())
    })
}

#[test]
fn wide_tiles_in_object_files() {
    let host = Target::host();
    for name in ["x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni"] {
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
            let inputs = inputs(n, k);
            let want = run_kernel(&kernel, &[n as i64, k as i64], &inputs).unwrap();
            // The interpreter rounds multiply-adds once; so does every target.
            let want = (Some(0), want[0].data.to_vec());
            let got = run(&dir.0, [n, k], &inputs, 4 * n * 13, ("plain", 1));
            assert_eq!(want, got, "{name} n={n} k={k}");
        }
    }
}

#[test]
fn parts_run_on_threads_of_the_caller() {
    let kernel = parse_kernel(KERNEL).unwrap();
    let dir = Scratch::new("parallel");
    build(&Target::host(), &dir.0);
    for [n, k] in [[1, 3], [2, 5], [5, 64], [64, 17]] {
        let inputs = inputs(n, k);
        let run = |by| run(&dir.0, [n, k], &inputs, 4 * n * 13, by);
        let want = run_kernel(&kernel, &[n as i64, k as i64], &inputs).unwrap();
        let want = want[0].data.to_vec();
        for threads in [1, 2, 3, 7, 100] {
            for who in ["threaded", "backwards", "null"] {
                assert_eq!(run((who, threads)), (Some(0), want.clone()), "{who} n={n}");
            }
            // A broken contract is an error; what was left out has run all the same.
            let several = threads > 1 && n > 1;
            for (who, code) in [("lazy", 6), ("twice", 7)] {
                let code = if several { code } else { 0 };
                let place = format!("{who} n={n} threads={threads}");
                assert_eq!(run((who, threads)), (Some(code), want.clone()), "{place}");
            }
        }
    }
}

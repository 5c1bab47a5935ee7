//! Kernels to describe: products of matrices by their tiles, and what is odd.
use crate::cost::{Description, Sample, Setting, features};
use crate::random::Random;
use std::fmt::Write;
use tensmith_ir::loops::parse_kernel;
use tensmith_ir::machine::Machine;

/// 512-bit vectors, and caches of a server.
pub fn setting() -> Setting {
    Setting {
        machine: Machine {
            l1_bytes: 48 << 10,
            l2_bytes: 2 << 20,
            l3_bytes: 32 << 20,
            ..Machine::GENERIC
        },
        vector_bytes: 64,
        ..Setting::default()
    }
}

/// A product of matrices in a register tile. The tile divides rows and columns, or the last one
/// is as large as the others.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub rows: i64,
    pub columns: i64,
    pub depth: i64,
    pub jam: i64,
    pub vectors: i64,
    pub unroll: i64,
    pub is_packed: bool,
    pub ahead: i64,
    pub is_parallel: bool,
}

impl Product {
    pub fn text(&self) -> String {
        let width = 16 * self.vectors;
        let (m, n) = (
            (self.rows + self.jam - 1) / self.jam,
            (self.columns + width - 1) / width,
        );
        let (rows, columns, k) = (m * self.jam, n * width, self.depth);
        let layout = match self.is_packed {
            true => format!(" layout(d1/{width}, d0, d1 mod {width})"),
            false => String::new(),
        };
        let ahead = match self.ahead {
            0 => String::new(),
            n => format!(" prefetch({n})"),
        };
        let mark = if self.is_parallel { " parallel" } else { "" };
        let (jam, unroll) = (self.jam, self.unroll);
        let (outer, term) = match unroll {
            1 => (format!("for i5 < {k} reduce {{"), "i5".into()),
            u => (
                format!(
                    "for i4 < {} reduce {{\n for i5 < {u} reduce unroll {{",
                    k / u
                ),
                format!("{u}*i4 + i5"),
            ),
        };
        let close = if unroll == 1 { "}" } else { "} }" };
        let mut text = String::new();
        write!(
            text,
            "kernel product() {{
  out o0: f32[{rows}, {columns}]
  in a1: f32[{rows}, {k}]
  in a2: f32[{k}, {columns}]{layout}{ahead}
  in a6: f32[{columns}]
  reg r3: f32[]
  for i0 < {m} space{mark} {{
    for i1 < {n} space {{
      for i2 < {jam} space jam {{
        for i3 < {width} space vector {{
          r3 = 0.0f32
          {outer}
            r3 = fma(a1[{jam}*i0 + i2, {term}], a2[{term}, {width}*i1 + i3], r3)
          {close}
          o0[{jam}*i0 + i2, {width}*i1 + i3] = r3 + a6[{width}*i1 + i3]
        }}
      }}
    }}
  }}
}}
"
        )
        .unwrap();
        text
    }
}

pub fn describe(product: &Product) -> Description {
    let text = product.text();
    let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    Description::new(&kernel, &setting())
}

/// Samples of four families of tasks, with these times.
pub fn samples(
    random: &mut Random,
    count: usize,
    ns: impl Fn(&Description, &mut Random) -> f64,
) -> Vec<Sample> {
    // Rows, columns and depth of two tasks each.
    let families = [
        ("images", [(3136, 64, 64), (784, 128, 1152)]),
        ("text", [(128, 384, 384), (128, 1536, 384)]),
        ("deep", [(49, 512, 4608), (196, 1024, 1024)]),
        ("small", [(40, 96, 240), (320, 24, 72)]),
    ];
    let mut sample = |k: usize| {
        let (family, tasks) = families[k % 4];
        let task = k / 4 % 2;
        let (rows, columns, depth) = tasks[task];
        let product = Product {
            rows,
            columns,
            depth,
            jam: *random.pick(&[1, 2, 3, 4, 6, 8, 12, 14]).unwrap(),
            vectors: *random.pick(&[1, 2, 3, 4, 6]).unwrap(),
            unroll: *random.pick(&[1, 2, 4, 8]).unwrap(),
            is_packed: random.chance(0.7),
            ahead: *random.pick(&[0, 256, 1024]).unwrap(),
            is_parallel: false,
        };
        let description = describe(&product);
        let default = describe(&Product {
            jam: 4,
            vectors: 2,
            unroll: 1,
            is_packed: true,
            ahead: 0,
            ..product
        });
        let ns = ns(&description, random);
        Sample {
            family: family.into(),
            task: task.to_string(),
            features: features::row(&description, &default),
            terms: description.terms,
            ns,
        }
    };
    (0..count).map(&mut sample).collect()
}

/// Kernels with what products lack: sizes, checks, branches, strides, empty loops.
pub const ODD: [(&str, &str); 10] = [
    (
        "sizes",
        "kernel sizes($n in 1..=100000) {
  out o0: f32[$n, 100]
  in a1: f32[$n, 100]
  for i0 < $n space parallel {
    for i1 < 100 space {
      o0[i0, i1] = a1[i0, i1] + 1.0f32
    }
  }
}
",
    ),
    (
        "gather",
        "kernel gather() {
  in a0: f32[1000, 8]
  in a1: i64[3]
  out o2: f32[3, 8]
  for i0 < 3 space {
    check i1 = a1[i0] in 1000 site 0 {
      for i2 < 8 space vector {
        o2[i0, i2] = a0[i1, i2]
      }
    }
  }
}
",
    ),
    (
        "frame",
        "kernel frame() {
  out o0: f32[11, 64]
  in a1: f32[10, 64]
  for i0 < 10 space {
    if [-i0] {
      for i1 < 64 space vector {
        o0[0, i1] = 0.0f32
      }
    }
    for i2 < 64 space vector {
      o0[i0 + 1, i2] = a1[i0, i2] + 1.0f32
    }
  }
}
",
    ),
    (
        "columns",
        "kernel columns() {
  out o0: f32[64, 64]
  in a1: f32[64, 64]
  for i0 < 64 space {
    for i1 < 64 space vector {
      o0[i0, i1] = exp(a1[i1, i0]) / a1[0, 0]
    }
  }
}
",
    ),
    (
        "tail",
        "kernel tail() {
  out o0: f32[40]
  in a1: f32[40]
  for i0 < 40 space vector {
    o0[i0] = a1[i0] * 2.0f32
  }
}
",
    ),
    (
        "turned",
        "kernel turned() {
  out o0: f32[16, 16]
  in a1: f32[16, 16]
  for i0 < 16 space jam {
    for i1 < 16 space vector {
      o0[i0, i1] = a1[i1, i0]
    }
  }
}
",
    ),
    (
        "empty",
        "kernel empty() {
  out o0: f32[0]
  for i0 < 0 space parallel {
    o0[i0] = 1.0f32
  }
}
",
    ),
    (
        "nothing",
        "kernel nothing() {
  out o0: f32[1]
}
",
    ),
    (
        "one",
        "kernel one() {
  out o0: f32[]
  in a1: f32[]
  o0[] = a1[]
}
",
    ),
    (
        "huge",
        "kernel huge($a in 281474976710656..=281474976710656, $b in 281474976710656..=281474976710656) {
  out o0: f32[$a, $b]
  for i0 < $a space {
    for i1 < $b space {
      o0[i0, i1] = 1.0f32
    }
  }
}
",
    ),
];

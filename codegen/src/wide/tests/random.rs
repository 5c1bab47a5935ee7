//! Random programs of a fixed seed, compiled and interpreted over copies of the same memory.

use super::{at_widths, interp, load};
use crate::wide::vir::*;

/// Words of the input and of the output.
const WORDS: usize = 256;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 20) as usize % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Values that are in scope. F32 and I32 vectors are kept apart: bits of a NaN never reach
/// integer operations, because which NaN an operation gives is not defined.
#[derive(Clone)]
struct Scope {
    floats: Vec<Value>,
    ints: Vec<Value>,
    masks: Vec<Value>,
    counts: Vec<Value>,
}

struct Generator {
    f: FunctionBuilder,
    rng: Rng,
    scope: Scope,
    input: Value,
    output: Value,
    /// Next free output byte.
    free: i32,
}

impl Generator {
    fn addr(&mut self) -> Addr {
        let disp = 4 * self.rng.below(WORDS - 16) as i32;
        Addr::at(self.input, disp)
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0..4 => self.float_step(),
            4..6 => self.int_step(),
            6 => self.mask_step(),
            7 => self.load_step(),
            8 => self.count_step(),
            _ => self.store_step(),
        }
    }

    fn float_step(&mut self) {
        use BinaryOp::*;
        let e = Elem::F32;
        let s = &self.scope.floats;
        let (a, b, c) = (self.rng.pick(s), self.rng.pick(s), self.rng.pick(s));
        let v = match self.rng.below(6) {
            0 | 1 => {
                let op = self.rng.pick(&[Add, Sub, Mul, Div, Min, Max]);
                self.f.binary(op, e, a, b)
            }
            2 | 3 => {
                let ops = [
                    FmaOp::MulAdd,
                    FmaOp::MulSub,
                    FmaOp::NegMulAdd,
                    FmaOp::NegMulSub,
                ];
                let op = self.rng.pick(&ops);
                self.f.fma(op, e, a, b, c)
            }
            4 => {
                use UnaryOp::*;
                let op = self.rng.pick(&[Sqrt, Floor, Ceil, Nearest, Trunc]);
                self.f.unary(op, e, a)
            }
            _ => {
                let m = self.rng.pick(&self.scope.masks);
                self.f.select(e, m, a, b)
            }
        };
        self.scope.floats.push(v);
    }

    fn int_step(&mut self) {
        use BinaryOp::*;
        let e = Elem::I32;
        let s = &self.scope.ints;
        let (a, b) = (self.rng.pick(s), self.rng.pick(s));
        let v = match self.rng.below(6) {
            0..3 => {
                let ops = [Add, Sub, Mul, Min, Max, And, Or, Xor, AndNot, Shl, Shr, Sar];
                let op = self.rng.pick(&ops);
                self.f.binary(op, e, a, b)
            }
            3 => {
                let op = self.rng.pick(&[ShiftOp::Shl, ShiftOp::Shr, ShiftOp::Sar]);
                let amount = self.rng.below(32) as u8;
                self.f.shift(op, a, amount)
            }
            4 => {
                let x = self.rng.pick(&self.scope.floats);
                self.f.unary(UnaryOp::ToI32Nearest, Elem::F32, x)
            }
            _ => {
                let n = self.rng.pick(&self.scope.counts);
                self.f.splat_int(n)
            }
        };
        self.scope.ints.push(v);
    }

    fn mask_step(&mut self) {
        let cmps = [Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge];
        let cmp = self.rng.pick(&cmps);
        let m = match self.rng.below(4) {
            0 => {
                let s = &self.scope.floats;
                let (a, b) = (self.rng.pick(s), self.rng.pick(s));
                self.f.cmp(cmp, Elem::F32, a, b)
            }
            1 => {
                let s = &self.scope.ints;
                let (a, b) = (self.rng.pick(s), self.rng.pick(s));
                self.f.cmp(cmp, Elem::I32, a, b)
            }
            2 => {
                let s = &self.scope.masks;
                let (a, b) = (self.rng.pick(s), self.rng.pick(s));
                let op = self
                    .rng
                    .pick(&[MaskOp::And, MaskOp::Or, MaskOp::Xor, MaskOp::AndNot]);
                self.f.mask(op, a, b)
            }
            _ => {
                let a = self.rng.pick(&self.scope.masks);
                self.f.mask_not(a)
            }
        };
        self.scope.masks.push(m);
    }

    fn load_step(&mut self) {
        let addr = self.addr();
        let mask = self.rng.pick(&self.scope.masks);
        let form = match self.rng.below(6) {
            0 => LoadForm::Broadcast,
            1 => LoadForm::Lane,
            2 => LoadForm::Masked(mask),
            3 => {
                let parts = self.f.lanes(Elem::F32) / 4;
                let part = self.rng.below(parts) as u8;
                LoadForm::Part(part, self.rng.pick(&self.scope.floats))
            }
            _ => LoadForm::Full,
        };
        let v = self.f.load_form(Elem::F32, form, addr);
        match self.rng.below(3) {
            0 => self.scope.ints.push(v),
            _ => self.scope.floats.push(v),
        }
        let x = self.rng.below(9) as f32 - 4.0;
        let c = self.f.splat_f32(x);
        self.scope.floats.push(c);
    }

    /// Integers stay below 2^62 because each is shifted down first.
    fn count_step(&mut self) {
        let s = &self.scope.counts;
        let (a, b) = (self.rng.pick(s), self.rng.pick(s));
        let a = self.f.int_shift(ShiftOp::Sar, a, 1);
        let op = self
            .rng
            .pick(&[IntOp::Add, IntOp::Sub, IntOp::Mul, IntOp::Min, IntOp::Max]);
        let v = self.f.int(op, a, b);
        let c = self.rng.below(2000) as i64 - 1000;
        let w = self.f.int_add_const(v, c);
        self.scope.counts.extend([v, w]);
    }

    fn store_step(&mut self) {
        if self.free as usize + 64 > WORDS * 4 {
            return;
        }
        let floats = self.rng.below(2) == 0;
        let s = if floats {
            &self.scope.floats
        } else {
            &self.scope.ints
        };
        let v = self.rng.pick(s);
        let mask = self.rng.pick(&self.scope.masks);
        let form = match self.rng.below(4) {
            0 => StoreForm::Masked(mask),
            1 => StoreForm::Lane,
            2 => StoreForm::Part(self.rng.below(2) as u8),
            _ => StoreForm::Full,
        };
        let addr = Addr::at(self.output, self.free);
        self.f.store_form(Elem::F32, form, addr, v);
        self.free += 64;
    }

    /// A loop of a few rounds that carries some of the values in scope.
    fn nest(&mut self, steps: usize) {
        let outer = self.scope.clone();
        let mut init = Vec::new();
        for pool in [&outer.floats, &outer.ints, &outer.masks, &outer.counts] {
            init.push(self.rng.pick(pool));
            init.push(self.rng.pick(pool));
        }
        let lo = self.f.iconst(0);
        let rounds = self.rng.below(4) as i64;
        let hi = self.f.iconst(rounds);
        let open = self.f.begin_loop(lo, hi, 1, &init);
        self.adopt(&open.carried);
        self.scope.counts.push(open.index);
        for _ in 0..steps {
            self.step();
        }
        let s = &self.scope;
        let mut next = Vec::new();
        for pool in [&s.floats, &s.ints, &s.masks, &s.counts] {
            next.push(self.rng.pick(pool));
            next.push(self.rng.pick(pool));
        }
        let end = self.f.end_loop(open, &next);
        self.scope = outer;
        self.adopt(&end);
    }

    fn adopt(&mut self, v: &[Value]) {
        self.scope.floats.extend(&v[0..2]);
        self.scope.ints.extend(&v[2..4]);
        self.scope.masks.extend(&v[4..6]);
        self.scope.counts.extend(&v[6..8]);
    }
}

fn program(seed: u64, width: Width) -> Function {
    let mut f = FunctionBuilder::new(format!("random_{seed}"), width);
    let (input, output) = (f.arg(0), f.arg(1));
    let floats = vec![f.splat_f32(0.75), f.load(Elem::F32, Addr::new(input))];
    let ints = vec![f.lanes_i32(|i| i as i32), f.zero()];
    let n = f.arg(2);
    let masks = vec![f.tail_mask(Elem::F32, n)];
    let scope = Scope {
        floats,
        ints,
        masks,
        counts: vec![n],
    };
    let mut g = Generator {
        f,
        rng: Rng(seed),
        scope,
        input,
        output,
        free: 0,
    };
    for _ in 0..4 {
        for _ in 0..12 {
            g.step();
        }
        g.nest(15);
    }
    while g.free as usize + 64 <= WORDS * 4 {
        g.store_step();
    }
    g.f.ret();
    g.f.finish().unwrap()
}

fn same(a: u32, b: u32) -> bool {
    a == b || (f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan())
}

#[test]
fn random_programs() {
    at_widths(|width, target| {
        let mut spills = 0;
        for seed in 1..=150u64 {
            let f = program(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), width);
            let exe = load(&f, target);
            spills += exe.code.stats.spills;
            let mut rng = Rng(seed);
            let input: Vec<f32> = (0..WORDS)
                .map(|_| rng.below(2001) as f32 / 64.0 - 15.0)
                .collect();
            let (mut got, mut want) = (vec![7u32; WORDS], vec![7u32; WORDS]);
            let n = rng.below(20) as u64;
            exe.call(&[input.as_ptr() as u64, got.as_mut_ptr() as u64, n]);
            interp::run(&f, &[input.as_ptr() as u64, want.as_mut_ptr() as u64, n]);
            for i in 0..WORDS {
                assert!(
                    same(got[i], want[i]),
                    "seed {seed} {width:?}, word {i}: {:#x}, not {:#x}\n{f}\n{}",
                    got[i],
                    want[i],
                    exe.text()
                );
            }
        }
        assert!(spills > 0, "the programs are too easy");
    });
}

//! An interpreter of vector IR, written from the instructions' definitions.

use crate::wide::vir::*;

#[derive(Clone, Copy, Debug)]
enum Val {
    None,
    Int(i64),
    Vec([u32; 16]),
    Mask([bool; 16]),
}

struct Machine {
    lanes: usize,
    values: Vec<Val>,
}

/// Runs a function over real memory.
pub fn run(f: &Function, args: &[u64]) {
    let mut m = Machine {
        lanes: f.width().lanes(Elem::F32),
        values: vec![Val::None; f.num_values()],
    };
    m.values[0] = Val::Int(args.as_ptr() as i64);
    let mut block = Block(0);
    loop {
        let data = &f.blocks()[block.index()];
        for (result, inst) in &data.insts {
            let value = m.step(inst);
            if let Some(v) = result {
                m.values[v.index()] = value;
            }
        }
        let target = match data.term.as_ref().unwrap() {
            Terminator::Return => return,
            Terminator::Jump(t) => t,
            Terminator::Branch {
                cmp,
                a,
                b,
                then,
                other,
            } => match compare_int(*cmp, m.int(*a), m.int(*b)) {
                true => then,
                false => other,
            },
        };
        let args: Vec<Val> = target.args.iter().map(|v| m.values[v.index()]).collect();
        for (p, v) in f.blocks()[target.block.index()].params.iter().zip(args) {
            m.values[p.index()] = v;
        }
        block = target.block;
    }
}

fn compare_int<T: PartialOrd>(cmp: Cmp, a: T, b: T) -> bool {
    match cmp {
        Cmp::Eq => a == b,
        Cmp::Ne => a != b,
        Cmp::Lt => a < b,
        Cmp::Le => a <= b,
        Cmp::Gt => a > b,
        Cmp::Ge => a >= b,
        Cmp::Unordered => a.partial_cmp(&b).is_none(),
    }
}

fn float(f: impl Fn(f32) -> f32) -> impl Fn(u32) -> u32 {
    move |x| f(f32::from_bits(x)).to_bits()
}

fn to_i32(x: f32) -> u32 {
    let fits = (-2147483648.0..2147483648.0).contains(&x);
    if fits {
        x as i32 as u32
    } else {
        i32::MIN as u32
    }
}

fn unary(op: UnaryOp, x: u32) -> u32 {
    match op {
        UnaryOp::Sqrt => float(f32::sqrt)(x),
        UnaryOp::Floor => float(f32::floor)(x),
        UnaryOp::Ceil => float(f32::ceil)(x),
        UnaryOp::Nearest => float(f32::round_ties_even)(x),
        UnaryOp::Trunc => float(f32::trunc)(x),
        UnaryOp::Abs => (x as i32).wrapping_abs() as u32,
        UnaryOp::ToI32Nearest => to_i32(f32::from_bits(x).round_ties_even()),
        UnaryOp::ToI32Trunc => to_i32(f32::from_bits(x).trunc()),
        UnaryOp::FromI32 => (x as i32 as f32).to_bits(),
        UnaryOp::FromF16 => half::f16::from_bits(x as u16).to_f32().to_bits(),
        UnaryOp::ToF16 => u32::from(half::f16::from_f32(f32::from_bits(x)).to_bits()),
    }
}

fn binary(op: BinaryOp, elem: Elem, x: u32, y: u32) -> u32 {
    match op {
        BinaryOp::And => return x & y,
        BinaryOp::Or => return x | y,
        BinaryOp::Xor => return x ^ y,
        BinaryOp::AndNot => return !x & y,
        _ => {}
    }
    if elem == Elem::F32 {
        let (a, b) = (f32::from_bits(x), f32::from_bits(y));
        return match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Scale => scale(a, b),
            BinaryOp::Min if a < b => a,
            BinaryOp::Max if a > b => a,
            BinaryOp::Min | BinaryOp::Max => b,
            _ => unreachable!(),
        }
        .to_bits();
    }
    let (a, b) = (x as i32, y as i32);
    match op {
        BinaryOp::Add => x.wrapping_add(y),
        BinaryOp::Sub => x.wrapping_sub(y),
        BinaryOp::Mul => x.wrapping_mul(y),
        BinaryOp::Min => a.min(b) as u32,
        BinaryOp::Max => a.max(b) as u32,
        BinaryOp::Shl => x.checked_shl(y).unwrap_or(0),
        BinaryOp::Shr => x.checked_shr(y).unwrap_or(0),
        BinaryOp::Sar => (a >> y.min(31)) as u32,
        _ => unreachable!(),
    }
}

/// In double precision, which holds the products of all `f32` with powers up to 2^±400. By
/// infinite powers the instruction makes numbers of NaN.
fn scale(a: f32, b: f32) -> f32 {
    if a.is_nan() && b.is_infinite() {
        return b.max(0.0);
    }
    let n = f64::from(b).floor();
    let n = if n.is_finite() {
        n.clamp(-400.0, 400.0)
    } else {
        n
    };
    (f64::from(a) * n.exp2()) as f32
}

fn fma(op: FmaOp, a: u32, b: u32, c: u32) -> u32 {
    let (a, b, c) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
    match op {
        FmaOp::MulAdd => a.mul_add(b, c),
        FmaOp::MulSub => a.mul_add(b, -c),
        FmaOp::NegMulAdd => (-a).mul_add(b, c),
        FmaOp::NegMulSub => (-a).mul_add(b, -c),
    }
    .to_bits()
}

/// Reads an integer from memory.
///
/// # Safety
/// The access is in bounds.
unsafe fn read_int(ty: IntTy, at: i64) -> i64 {
    // SAFETY: as the caller promises.
    unsafe {
        match ty {
            IntTy::I8 => i64::from((at as *const i8).read()),
            IntTy::U8 => i64::from((at as *const u8).read()),
            IntTy::I16 => i64::from((at as *const i16).read_unaligned()),
            IntTy::U16 => i64::from((at as *const u16).read_unaligned()),
            IntTy::I32 => i64::from((at as *const i32).read_unaligned()),
            IntTy::I64 => (at as *const i64).read_unaligned(),
        }
    }
}

/// Writes an integer to memory.
///
/// # Safety
/// The access is in bounds.
unsafe fn write_int(ty: IntTy, at: i64, x: i64) {
    // SAFETY: as the caller promises.
    unsafe {
        match ty.bytes() {
            1 => (at as *mut i8).write(x as i8),
            2 => (at as *mut i16).write_unaligned(x as i16),
            4 => (at as *mut i32).write_unaligned(x as i32),
            _ => (at as *mut i64).write_unaligned(x),
        }
    }
}

impl Machine {
    fn int(&self, v: Value) -> i64 {
        match self.values[v.index()] {
            Val::Int(x) => x,
            other => panic!("{v} is {other:?}"),
        }
    }

    fn vec(&self, v: Value) -> [u32; 16] {
        match self.values[v.index()] {
            Val::Vec(x) => x,
            other => panic!("{v} is {other:?}"),
        }
    }

    fn mask(&self, v: Value) -> [bool; 16] {
        match self.values[v.index()] {
            Val::Mask(x) => x,
            other => panic!("{v} is {other:?}"),
        }
    }

    fn kept(&self, mask: Option<Value>) -> [bool; 16] {
        mask.map_or([true; 16], |m| self.mask(m))
    }

    fn addr(&self, a: &Addr) -> i64 {
        let index = a.index.map_or(0, |(v, s)| self.int(v) * i64::from(s));
        self.int(a.base) + index + i64::from(a.disp)
    }

    fn lanes(&self, lane: impl Fn(usize) -> u32) -> Val {
        let value = |i| if i < self.lanes { lane(i) } else { 0 };
        Val::Vec(std::array::from_fn(value))
    }

    fn holds(&self, lane: impl Fn(usize) -> bool) -> Val {
        Val::Mask(std::array::from_fn(|i| i < self.lanes && lane(i)))
    }

    fn step(&mut self, inst: &Inst) -> Val {
        match inst {
            Inst::IConst(c) => Val::Int(*c),
            Inst::Int { op, a, b } => Val::Int(self.int_op(*op, *a, *b)),
            Inst::IntShift { op, a, amount } => Val::Int(match op {
                ShiftOp::Shl => self.int(*a) << amount,
                ShiftOp::Shr => (self.int(*a) as u64 >> amount) as i64,
                ShiftOp::Sar => self.int(*a) >> amount,
            }),
            Inst::Lea(addr) => Val::Int(self.addr(addr)),
            Inst::IntLoad { ty, addr } => {
                let at = self.addr(addr);
                // SAFETY: tests pass arguments whose accesses are in bounds.
                Val::Int(unsafe { read_int(*ty, at) })
            }
            Inst::IntStore { ty, addr, value } => {
                let (at, x) = (self.addr(addr), self.int(*value));
                // SAFETY: as above.
                unsafe { write_int(*ty, at, x) };
                Val::None
            }
            Inst::Prefetch(_) => Val::None,
            Inst::SplatInt(a) => self.lanes(|_| self.int(*a) as u32),
            Inst::Splat { bits, .. } => self.lanes(|_| *bits as u32),
            Inst::Lanes { bits, .. } => self.lanes(|i| bits[i] as u32),
            Inst::Load { form, addr, .. } => self.load(*form, addr),
            Inst::Store {
                form, addr, value, ..
            } => self.store(*form, addr, *value),
            Inst::LoadShort { ty, mask, addr } => {
                let (at, keep) = (self.addr(addr), self.kept(*mask));
                let bytes = ty.bytes() as i64;
                // SAFETY: as above.
                let read = |i: usize| unsafe { read_int(*ty, at + bytes * i as i64) };
                self.lanes(|i| if keep[i] { read(i) as u32 } else { 0 })
            }
            Inst::StoreShort {
                ty,
                mask,
                addr,
                value,
            } => {
                let (at, keep, x) = (self.addr(addr), self.kept(*mask), self.vec(*value));
                for i in (0..self.lanes).filter(|i| keep[*i]) {
                    let at = at + (ty.bytes() * i) as i64;
                    // SAFETY: as above.
                    unsafe { write_int(*ty, at, i64::from(x[i])) };
                }
                Val::None
            }
            Inst::Unary { op, a, .. } => self.lanes(|i| unary(*op, self.vec(*a)[i])),
            Inst::Binary { op, elem, a, b } => {
                let (a, b) = (self.vec(*a), self.vec(*b));
                self.lanes(|i| binary(*op, *elem, a[i], b[i]))
            }
            Inst::Permute { a, lanes, .. } => {
                let a = self.vec(*a);
                self.lanes(|i| a[usize::from(lanes[i])])
            }
            Inst::Pick { a, b, lanes, .. } => {
                let (a, b) = (self.vec(*a), self.vec(*b));
                let n = self.lanes;
                self.lanes(|i| match usize::from(lanes[i]) {
                    k if k < n => a[k],
                    k => b[k - n],
                })
            }
            Inst::Zip { op, a, b } => {
                let (a, b) = (self.vec(*a), self.vec(*b));
                let n = self.lanes;
                self.lanes(|i| match op.source(n, i) {
                    (false, k) => a[k],
                    (true, k) => b[k],
                })
            }
            Inst::Shift { op, a, amount } => {
                let a = self.vec(*a);
                let amount = u32::from(*amount);
                self.lanes(|i| binary(op.by_lanes(), Elem::I32, a[i], amount))
            }
            Inst::Fma { op, a, b, c, .. } => {
                let (a, b, c) = (self.vec(*a), self.vec(*b), self.vec(*c));
                self.lanes(|i| fma(*op, a[i], b[i], c[i]))
            }
            Inst::Dot { a, b, c } => {
                let (a, b, c) = (self.vec(*a), self.vec(*b), self.vec(*c));
                self.lanes(|i| {
                    let bytes = a[i].to_le_bytes().into_iter().zip(b[i].to_le_bytes());
                    let terms = bytes.map(|(x, y)| i32::from(x) * i32::from(y as i8));
                    (c[i] as i32).wrapping_add(terms.sum()) as u32
                })
            }
            Inst::Cmp { cmp, elem, a, b } => {
                let (a, b) = (self.vec(*a), self.vec(*b));
                self.holds(|i| match elem {
                    Elem::F32 => compare_int(*cmp, f32::from_bits(a[i]), f32::from_bits(b[i])),
                    Elem::I32 => compare_int(*cmp, a[i] as i32, b[i] as i32),
                })
            }
            Inst::Mask { op, a, b } => {
                let (a, b) = (self.mask(*a), self.mask(*b));
                self.holds(|i| match op {
                    MaskOp::And => a[i] & b[i],
                    MaskOp::Or => a[i] | b[i],
                    MaskOp::Xor => a[i] ^ b[i],
                    MaskOp::AndNot => !a[i] & b[i],
                })
            }
            Inst::MaskNot(a) => self.holds(|i| !self.mask(*a)[i]),
            Inst::MaskBits(a) => {
                let held = self.mask(*a);
                Val::Int((0..16).filter(|i| held[*i]).map(|i| 1 << i).sum())
            }
            Inst::Select { mask, a, b, .. } => {
                let (m, a, b) = (self.mask(*mask), self.vec(*a), self.vec(*b));
                self.lanes(|i| if m[i] { a[i] } else { b[i] })
            }
            Inst::TailMask { count, .. } => {
                let count = self.int(*count) as i32;
                self.holds(|i| (i as i32) < count)
            }
            Inst::Reduce { op, elem, a } => self.reduce(*op, *elem, *a),
        }
    }

    fn int_op(&self, op: IntOp, a: Value, b: Value) -> i64 {
        let (a, b) = (self.int(a), self.int(b));
        match op {
            IntOp::Add => a.wrapping_add(b),
            IntOp::Sub => a.wrapping_sub(b),
            IntOp::Mul => a.wrapping_mul(b),
            IntOp::Min => a.min(b),
            IntOp::Max => a.max(b),
        }
    }

    fn load(&self, form: LoadForm, addr: &Addr) -> Val {
        let at = self.addr(addr) as *const u32;
        // SAFETY: tests pass arguments whose accesses are in bounds.
        let read = |i: usize| unsafe { at.add(i).read_unaligned() };
        match form {
            LoadForm::Full => self.lanes(read),
            LoadForm::Broadcast => self.lanes(|_| read(0)),
            LoadForm::Lane => self.lanes(|i| if i == 0 { read(0) } else { 0 }),
            LoadForm::Masked(m) => {
                let m = self.mask(m);
                self.lanes(|i| if m[i] { read(i) } else { 0 })
            }
            LoadForm::Part(k, others) => {
                let (first, others) = (4 * usize::from(k), self.vec(others));
                self.lanes(|i| match i.checked_sub(first) {
                    Some(at @ 0..4) => read(at),
                    _ => others[i],
                })
            }
        }
    }

    fn store(&self, form: StoreForm, addr: &Addr, value: Value) -> Val {
        let (at, x) = (self.addr(addr) as *mut u32, self.vec(value));
        if let StoreForm::Part(k) = form {
            let part = &x[4 * usize::from(k)..][..4];
            for (i, x) in part.iter().enumerate() {
                // SAFETY: as above.
                unsafe { at.add(i).write_unaligned(*x) };
            }
            return Val::None;
        }
        let keep: [bool; 16] = match form {
            StoreForm::Part(_) => unreachable!("done above"),
            StoreForm::Full => [true; 16],
            StoreForm::Lane => std::array::from_fn(|i| i == 0),
            StoreForm::Masked(m) => self.mask(m),
        };
        for i in (0..self.lanes).filter(|i| keep[*i]) {
            // SAFETY: as above.
            unsafe { at.add(i).write_unaligned(x[i]) };
        }
        Val::None
    }

    fn reduce(&self, op: ReduceOp, elem: Elem, a: Value) -> Val {
        let mut v = self.vec(a);
        let mut step = self.lanes / 2;
        while step > 0 {
            let old = v;
            for i in 0..self.lanes {
                v[i] = binary(op.step(), elem, old[i], old[i ^ step]);
            }
            step /= 2;
        }
        Val::Vec(v)
    }
}

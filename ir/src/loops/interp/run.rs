//! Runs resolved kernels.
use super::compile::{Code, Factor, Index, Test};
use super::{Arg, InterpError, Memory, Place, Program, Step, arith};

/// What scratch memory and registers hold at first: bits that show when they are used.
const UNDEFINED: u64 = 0xffff_ffff_ffff_ffff;

struct Machine<'p> {
    program: &'p Program<'p>,
    args: &'p [Arg<'p>],
    vars: Vec<i64>,
    registers: Vec<u64>,
    /// Elements of scratch memory and register arrays, by buffer number.
    locals: Vec<Vec<u64>>,
    failed: Option<InterpError>,
}

type Outcome<T> = Result<T, Box<InterpError>>;

pub(super) fn run(program: &Program<'_>, args: &[Arg<'_>]) -> Result<(), InterpError> {
    let mut machine = Machine {
        program,
        args,
        vars: vec![0; program.kernel.vars as usize],
        registers: vec![UNDEFINED; program.registers],
        locals: locals(program)?,
        failed: None,
    };
    machine.steps(&program.body).map_err(|e| *e)?;
    machine.failed.map_or(Ok(()), Err)
}

fn locals(program: &Program<'_>) -> Result<Vec<Vec<u64>>, InterpError> {
    let mut all = Vec::new();
    for memory in &program.memories {
        let mut local = Vec::new();
        if let Place::Local(_) = memory.place {
            let bits = UNDEFINED >> (64 - 8 * memory.dtype.bytes());
            local
                .try_reserve_exact(memory.count)
                .map_err(|_| InterpError::Arguments {
                    kernel: program.kernel.name.clone(),
                    reason: format!("no memory for {} scratch elements", memory.count),
                })?;
            local.resize(memory.count, bits);
        }
        all.push(local);
    }
    Ok(all)
}

impl Machine<'_> {
    fn steps(&mut self, steps: &[Step]) -> Outcome<()> {
        steps.iter().try_for_each(|s| self.step(s))
    }

    fn step(&mut self, step: &Step) -> Outcome<()> {
        match step {
            Step::For(var, extent, body) => {
                for i in 0..self.index(extent) {
                    self.vars[*var] = i;
                    self.steps(body)?;
                }
            }
            Step::Set(register, value) => {
                let bits = self.value(value)?;
                self.registers[*register] = bits;
            }
            Step::Store(buffer, index, value) => {
                let bits = self.value(value)?;
                let at = self.locate(*buffer, index)?;
                self.write(*buffer, at, bits);
            }
            Step::If(test, then, otherwise) => {
                let holds = match test {
                    Test::Affine(es) => self.all_hold(es),
                    Test::Scalar(s) => self.value(s)? != 0,
                };
                self.steps(if holds { then } else { otherwise })?;
            }
            Step::Check {
                var,
                value,
                extent,
                site,
                body,
            } => {
                let value = self.value(value)? as i64;
                let extent = self.index(extent);
                if (0..extent).contains(&value) {
                    self.vars[*var] = value;
                    self.steps(body)?;
                } else {
                    let site = *site;
                    self.failed.get_or_insert(InterpError::Check {
                        site,
                        value,
                        extent,
                    });
                }
            }
            Step::While(cond, body) => {
                while self.value(cond)? != 0 {
                    self.steps(body)?;
                }
            }
        }
        Ok(())
    }

    fn all_hold(&self, es: &[Index]) -> bool {
        es.iter().all(|e| self.index(e) >= 0)
    }

    fn index(&self, e: &Index) -> i64 {
        match e {
            Index::Const(n) => *n,
            Index::Affine(n, terms) => terms.iter().fold(*n, |sum, (var, c)| {
                sum.wrapping_add(self.vars[*var].wrapping_mul(*c))
            }),
            Index::Poly(n, terms) => terms.iter().fold(*n, |sum, (c, factors)| {
                let product = |p: i64, f| p.wrapping_mul(self.factor(f));
                sum.wrapping_add(factors.iter().fold(*c, product))
            }),
        }
    }

    fn factor(&self, f: &Factor) -> i64 {
        let both = |p: &(Index, Index)| (self.index(&p.0), self.index(&p.1));
        match f {
            Factor::Var(v) => self.vars[*v],
            Factor::Div(p) => {
                let (a, b) = both(p);
                a.div_euclid(b.max(1))
            }
            Factor::Mod(p) => {
                let (a, b) = both(p);
                a.rem_euclid(b.max(1))
            }
            Factor::Min(p) => {
                let (a, b) = both(p);
                a.min(b)
            }
            Factor::Max(p) => {
                let (a, b) = both(p);
                a.max(b)
            }
        }
    }

    fn value(&mut self, code: &Code) -> Outcome<u64> {
        Ok(match code {
            Code::Const(bits) => *bits,
            Code::Index(e) => self.index(e) as u64,
            Code::Register(k) => self.registers[*k],
            Code::Load(buffer, index) => {
                let at = self.locate(*buffer, index)?;
                self.read(*buffer, at)
            }
            Code::Unary(op, dtype, a) => arith::unary(*op, *dtype, self.value(a)?),
            Code::Binary(op, dtype, p) => {
                let (a, b) = (self.value(&p.0)?, self.value(&p.1)?);
                arith::binary(*op, *dtype, a, b)
            }
            Code::Fma(dtype, p) => {
                let (a, b) = (self.value(&p.0)?, self.value(&p.1)?);
                arith::fma(*dtype, a, b, self.value(&p.2)?)
            }
            Code::Call(sets, result) => {
                for (register, value) in sets {
                    let bits = self.value(value)?;
                    self.registers[*register] = bits;
                }
                self.registers[*result]
            }
            Code::Select(p) => {
                let cond = self.value(&p.0)?;
                let (a, b) = (self.value(&p.1)?, self.value(&p.2)?);
                if cond != 0 { a } else { b }
            }
            Code::Cast(from, to, a) => arith::cast(*from, *to, self.value(a)?),
            Code::Guard(conds, p) => {
                let chosen = if self.all_hold(conds) { &p.0 } else { &p.1 };
                self.value(chosen)?
            }
        })
    }

    /// The element offset of an access.
    fn locate(&self, buffer: usize, index: &[Index]) -> Outcome<usize> {
        let memory = &self.program.memories[buffer];
        let mut at = [0i64; 8];
        if index.len() > at.len() {
            return self.locate_any(
                memory,
                buffer,
                index.iter().map(|e| self.index(e)).collect(),
            );
        }
        for (slot, e) in at.iter_mut().zip(index) {
            *slot = self.index(e);
        }
        let at = &at[..index.len()];
        if !in_range(memory, at) {
            return Err(self.out_of_range(buffer, at));
        }
        Ok(offset(memory, at))
    }

    fn locate_any(&self, memory: &Memory, buffer: usize, at: Vec<i64>) -> Outcome<usize> {
        if !in_range(memory, &at) {
            return Err(self.out_of_range(buffer, &at));
        }
        Ok(offset(memory, &at))
    }

    #[cold]
    fn out_of_range(&self, buffer: usize, at: &[i64]) -> Box<InterpError> {
        Box::new(InterpError::OutOfRange {
            kernel: self.program.kernel.name.clone(),
            buffer: self.program.kernel.buffers[buffer].name.clone(),
            index: at.to_vec(),
            extents: self.program.memories[buffer].extents.clone(),
        })
    }

    fn read(&self, buffer: usize, at: usize) -> u64 {
        let memory = &self.program.memories[buffer];
        let arg = match memory.place {
            Place::Local(k) => return self.locals[k][at],
            Place::Arg(k) => &self.args[k],
        };
        match memory.dtype.bytes() {
            1 => u64::from(u8::from_le_bytes(bytes(arg, at))),
            2 => u64::from(u16::from_le_bytes(bytes(arg, at))),
            4 => u64::from(u32::from_le_bytes(bytes(arg, at))),
            _ => u64::from_le_bytes(bytes(arg, at)),
        }
    }

    fn write(&mut self, buffer: usize, at: usize, bits: u64) {
        let memory = &self.program.memories[buffer];
        match memory.place {
            Place::Local(k) => self.locals[k][at] = bits,
            Place::Arg(k) => {
                let Arg::Cells(cells) = &self.args[k] else {
                    unreachable!("invariant: outputs are writable");
                };
                let size = memory.dtype.bytes();
                let to = &cells[at * size..][..size];
                to.iter()
                    .zip(bits.to_le_bytes())
                    .for_each(|(c, b)| c.set(b));
            }
        }
    }
}

fn in_range(memory: &Memory, at: &[i64]) -> bool {
    at.iter()
        .zip(&memory.extents)
        .all(|(i, extent)| (0..*extent).contains(i))
}

/// The element offset of an index in range.
fn offset(memory: &Memory, at: &[i64]) -> usize {
    let mut offset = 0;
    for (dim, step, extent, outermost) in &memory.layout {
        let part = at[*dim] / step;
        let part = if *outermost { part } else { part % extent };
        offset = offset * extent + part;
    }
    offset as usize
}

fn bytes<const N: usize>(arg: &Arg<'_>, at: usize) -> [u8; N] {
    match arg {
        Arg::Bytes(b) => {
            let from = &b[at * N..][..N];
            from.try_into().expect("invariant: N bytes")
        }
        Arg::Cells(c) => {
            let from = &c[at * N..][..N];
            std::array::from_fn(|k| from[k].get())
        }
    }
}

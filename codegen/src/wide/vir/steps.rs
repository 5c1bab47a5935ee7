//! Turns products of loop counters into counters of their own.
//!
//! A core multiplies on a port that multiply-adds of vectors need, too: in an innermost loop
//! `base + i * 96`, computed anew in each iteration, costs more than a second counter that grows
//! by 96. Where products are free in addresses, at a scale of up to 8, they stay.
use super::{Block, Def, Function, FunctionBuilder, Inst, IntOp, ShiftOp, Terminator, Value};

/// Counters that a loop is given at most: each takes an integer register.
const MOST: usize = 4;

/// Shifts that addresses do by themselves.
const SCALES: u8 = 3;

/// A product in a loop: what becomes a counter.
struct Product {
    /// Its value, and the position of its instruction.
    value: Value,
    at: usize,
    /// The counter of the loop, by its position among the parameters.
    param: usize,
    factor: i64,
}

impl FunctionBuilder {
    /// Gives loops of one block counters in place of the products of those they have.
    pub fn step_products(&mut self) {
        for block in 0..self.func.blocks.len() {
            let block = Block(block as u32);
            let products = products(&self.func, block);
            let few = products.len() <= MOST;
            for product in products.iter().rev().filter(|_| few) {
                self.step(block, product);
            }
        }
    }

    /// Makes one product a parameter of its loop.
    fn step(&mut self, block: Block, product: &Product) {
        let (_, step) = counter(&self.func, block, product.param)
            .expect("invariant: products are those of counters");
        let grows = step.wrapping_mul(product.factor);
        self.remove(block, product.at);
        let params = &mut self.func.blocks[block.index()].params;
        params.push(product.value);
        let place = Def::Param(block, params.len() as u32 - 1);
        self.func.values[product.value.index()].1 = place;
        for from in 0..self.func.blocks.len() {
            let from = Block(from as u32);
            let term = self.func.blocks[from.index()].term.iter();
            let to = term.flat_map(Terminator::targets);
            let begins: Vec<Option<Value>> = to
                .map(|t| (t.block == block).then(|| t.args[product.param]))
                .collect();
            self.switch_to(from);
            for (k, begin) in begins.into_iter().enumerate() {
                let Some(begin) = begin else { continue };
                let arg = match from == block {
                    true => self.int_add_const(product.value, grows),
                    false => self.multiple(begin, product.factor),
                };
                let term = self.func.blocks[from.index()].term.as_mut();
                let target = term.and_then(|t| t.targets_mut().nth(k));
                let target = target.expect("invariant: the target was seen");
                target.args.push(arg);
            }
        }
    }

    fn multiple(&mut self, v: Value, factor: i64) -> Value {
        if let Some(Inst::IConst(c)) = self.func.def_inst(v) {
            return self.iconst(c.wrapping_mul(factor));
        }
        let factor = self.iconst(factor);
        self.int(IntOp::Mul, v, factor)
    }

    fn remove(&mut self, block: Block, at: usize) {
        let insts = &mut self.func.blocks[block.index()].insts;
        insts.remove(at);
        for (at, (result, _)) in insts.iter().enumerate().skip(at) {
            if let Some(v) = result {
                self.func.values[v.index()].1 = Def::Inst(block, at as u32);
            }
        }
    }
}

/// The products of counters in a loop of one block, in their order.
fn products(f: &Function, block: Block) -> Vec<Product> {
    let data = &f.blocks[block.index()];
    let loops = |t: &super::Target| t.block == block;
    let again = data
        .term
        .iter()
        .flat_map(Terminator::targets)
        .filter(|t| loops(t));
    if again.count() != 1 {
        return vec![];
    }
    let constant = |v: Value| match f.def_inst(v) {
        Some(Inst::IConst(c)) => Some(*c),
        _ => None,
    };
    let counts = |v: Value| match f.def(v) {
        Def::Param(b, k) if b == block => counter(f, block, k as usize).map(|_| k as usize),
        _ => None,
    };
    let product = |inst: &Inst| match inst {
        Inst::Int {
            op: IntOp::Mul,
            a,
            b,
        } => {
            let of = |x: Value, y: Value| Some((counts(x)?, constant(y)?));
            of(*a, *b).or_else(|| of(*b, *a))
        }
        Inst::IntShift {
            op: ShiftOp::Shl,
            a,
            amount,
        } if *amount > SCALES => Some((counts(*a)?, 1i64.checked_shl(u32::from(*amount))?)),
        _ => None,
    };
    let insts = data.insts.iter().enumerate();
    let found = insts.filter_map(|(at, (value, inst))| {
        let (param, factor) = product(inst)?;
        let value = (*value)?;
        Some(Product {
            value,
            at,
            param,
            factor,
        })
    });
    found.collect()
}

/// What is added to a parameter in each iteration of a loop of one block, if it is a constant.
fn counter(f: &Function, block: Block, param: usize) -> Option<(Value, i64)> {
    let data = &f.blocks[block.index()];
    let value = *data.params.get(param)?;
    let mut to = data.term.iter().flat_map(Terminator::targets);
    let next = *to.find(|t| t.block == block)?.args.get(param)?;
    match f.def_inst(next)? {
        Inst::Int {
            op: IntOp::Add,
            a,
            b,
        } if *a == value => match f.def_inst(*b)? {
            Inst::IConst(step) => Some((value, *step)),
            _ => None,
        },
        _ => None,
    }
}

//! Index expressions to integer code.
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::collections::HashMap;
use tensmith_ir::expr::{Atom, Expr, Symbol, Var};

/// Emits expressions; each is computed once per scope.
pub(crate) struct ExprEmitter {
    symbols: Vec<Symbol>,
    sizes: Vec<Value>,
    vars: HashMap<Var, Value>,
    memo: Vec<HashMap<Expr, Value>>,
}

impl ExprEmitter {
    /// Over the values of size symbols.
    pub fn new(symbols: Vec<Symbol>, sizes: Vec<Value>) -> Self {
        ExprEmitter {
            symbols,
            sizes,
            vars: HashMap::new(),
            memo: vec![HashMap::new()],
        }
    }

    pub fn bind(&mut self, var: Var, value: Value) {
        self.vars.insert(var, value);
    }

    pub fn open_scope(&mut self) {
        self.memo.push(HashMap::new());
    }

    pub fn close_scope(&mut self) {
        self.memo.pop();
    }

    pub fn emit(&mut self, b: &mut FunctionBuilder<'_>, e: &Expr) -> Value {
        if let Some(v) = self.memo.iter().rev().find_map(|scope| scope.get(e)) {
            return *v;
        }
        let value = Sum { cx: self, b }.sum(e);
        if let Some(scope) = self.memo.last_mut() {
            scope.insert(e.clone(), value);
        }
        value
    }
}

/// The product of a value and a number.
pub(crate) fn times(b: &mut FunctionBuilder<'_>, v: Value, by: i64) -> Value {
    if by == 1 {
        return v;
    }
    if by > 0 && by.count_ones() == 1 {
        let shift = b.ins().iconst(types::I64, i64::from(by.trailing_zeros()));
        return b.ins().ishl(v, shift);
    }
    let by = b.ins().iconst(types::I64, by);
    b.ins().imul(v, by)
}

struct Sum<'a, 'f> {
    cx: &'a mut ExprEmitter,
    b: &'a mut FunctionBuilder<'f>,
}

impl Sum<'_, '_> {
    fn expr(&mut self, e: &Expr) -> Value {
        self.cx.emit(self.b, e)
    }

    fn atom_value(&mut self, atom: &Atom) -> Value {
        match atom {
            Atom::Size(s) => {
                let k = self.cx.symbols.iter().position(|x| x == s);
                self.cx.sizes[k.expect("invariant: the verifier knows every size")]
            }
            Atom::Var(v) => *self
                .cx
                .vars
                .get(v)
                .expect("invariant: variables are bound where they are used"),
            Atom::Div(_) | Atom::Mod(_) | Atom::Min(_) | Atom::Max(_) => self.compound(atom),
        }
    }

    fn sum(&mut self, e: &Expr) -> Value {
        let mut total: Option<Value> = None;
        for (atoms, coef) in e.terms() {
            let mut term = self.atom_value(&atoms[0]);
            for atom in &atoms[1..] {
                let factor = self.atom_value(atom);
                term = self.b.ins().imul(term, factor);
            }
            term = times(self.b, term, *coef);
            total = Some(match total {
                Some(sum) => self.b.ins().iadd(sum, term),
                None => term,
            });
        }
        match (total, e.constant()) {
            (None, c) => self.b.ins().iconst(types::I64, c),
            (Some(v), 0) => v,
            (Some(v), c) => {
                let c = self.b.ins().iconst(types::I64, c);
                self.b.ins().iadd(v, c)
            }
        }
    }

    /// Quotients round towards minus infinity; divisors are positive.
    fn compound(&mut self, atom: &Atom) -> Value {
        let (Atom::Div(p) | Atom::Mod(p) | Atom::Min(p) | Atom::Max(p)) = atom else {
            panic!("invariant: a compound atom");
        };
        let x = self.expr(&p.0);
        match atom {
            Atom::Div(_) => self.floor_div(x, &p.1).0,
            Atom::Mod(_) => self.floor_div(x, &p.1).1,
            _ => {
                let y = self.expr(&p.1);
                let code = if matches!(atom, Atom::Min(_)) {
                    IntCC::SignedLessThan
                } else {
                    IntCC::SignedGreaterThan
                };
                let c = self.b.ins().icmp(code, x, y);
                self.b.ins().select(c, x, y)
            }
        }
    }

    fn floor_div(&mut self, x: Value, d: &Expr) -> (Value, Value) {
        let shift = d
            .as_const()
            .filter(|c| c.count_ones() == 1)
            .map(|c| i64::from(c.trailing_zeros()));
        let divisor = self.expr(d);
        if let Some(s) = shift {
            let bits = self.b.ins().iconst(types::I64, s);
            let mask = self.b.ins().iconst(types::I64, (1i64 << s) - 1);
            return (self.b.ins().sshr(x, bits), self.b.ins().band(x, mask));
        }
        let divisor = match d.as_const() {
            Some(_) => divisor,
            None => {
                let one = self.b.ins().iconst(types::I64, 1);
                self.b.ins().smax(divisor, one)
            }
        };
        let q = self.b.ins().sdiv(x, divisor);
        let product = self.b.ins().imul(q, divisor);
        let r = self.b.ins().isub(x, product);
        let zero = self.b.ins().iconst(types::I64, 0);
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, r, zero);
        let fixed = self.b.ins().iadd(r, divisor);
        let minus = self.b.ins().iconst(types::I64, -1);
        let lower = self.b.ins().iadd(q, minus);
        (
            self.b.ins().select(negative, lower, q),
            self.b.ins().select(negative, fixed, r),
        )
    }
}

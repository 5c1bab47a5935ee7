//! The verifier: classes, definitions before uses, parameters, ranges of immediate fields.

use super::{
    Addr, BinaryOp, Block, Class, Cmp, Def, Elem, Function, Inst, LoadForm, StoreForm, Target,
    Terminator, UnaryOp, Value, Width,
};

/// Bound on the values of one function, so that compile time and memory stay bounded.
const MAX_VALUES: usize = 1 << 20;

impl Function {
    /// Checks everything that selection relies on.
    ///
    /// Errors: the place (block and position) and what is wrong there.
    pub fn verify(&self) -> Result<(), String> {
        if self.values.len() > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values; split the tile"));
        }
        let entry = self.blocks.first().ok_or("no blocks")?;
        if !entry.params.is_empty() {
            return Err("the entry block has parameters".into());
        }
        for (i, data) in self.blocks.iter().enumerate() {
            let block = Block(i as u32);
            for (at, (result, inst)) in data.insts.iter().enumerate() {
                self.check_inst(*result, inst)
                    .map_err(|e| format!("{block} at {at}, `{inst}`: {e}"))?;
            }
            let term = data
                .term
                .as_ref()
                .ok_or(format!("{block} has no terminator"))?;
            self.check_term(term)
                .map_err(|e| format!("{block}, `{term}`: {e}"))?;
        }
        self.check_dominance()
    }

    fn expect(&self, v: Value, class: Class) -> Result<(), String> {
        match self.values.get(v.index()) {
            None => Err(format!("{v} does not exist")),
            Some((c, _)) if *c != class => Err(format!("{v} is {c:?}, {class:?} expected")),
            Some(_) => Ok(()),
        }
    }

    fn check_inst(&self, result: Option<Value>, inst: &Inst) -> Result<(), String> {
        match (result, inst.result()) {
            (Some(v), Some(class)) => self.expect(v, class)?,
            (None, None) => {}
            _ => return Err("result does not fit the instruction".into()),
        }
        let mut outcome = Ok(());
        inst.operands(|v, class| {
            if outcome.is_ok() {
                outcome = self.expect(v, class);
            }
        });
        outcome?;
        check_fields(inst, self.width)
    }

    fn check_term(&self, term: &Terminator) -> Result<(), String> {
        if let Terminator::Branch { cmp, a, b, .. } = term {
            self.expect(*a, Class::Int)?;
            self.expect(*b, Class::Int)?;
            if *cmp == Cmp::Unordered {
                return Err("integers are never unordered".into());
            }
        }
        term.targets().try_for_each(|t| self.check_target(t))
    }

    fn check_target(&self, t: &Target) -> Result<(), String> {
        let data = self
            .blocks
            .get(t.block.index())
            .ok_or(format!("{} does not exist", t.block))?;
        if t.block.index() == 0 {
            return Err("the entry block has a predecessor".into());
        }
        if data.params.len() != t.args.len() {
            let (want, got) = (data.params.len(), t.args.len());
            return Err(format!("{} takes {want} values, {got} given", t.block));
        }
        data.params
            .iter()
            .zip(&t.args)
            .try_for_each(|(p, a)| self.expect(*a, self.class(*p)))
    }

    fn check_dominance(&self) -> Result<(), String> {
        let dom = Dominators::new(self);
        for (i, data) in self.blocks.iter().enumerate() {
            if !dom.reachable(i) {
                continue;
            }
            let mut bad = None;
            for (at, (_, inst)) in data.insts.iter().enumerate() {
                inst.operands(|v, _| {
                    if !self.defined_before(&dom, v, i, at) {
                        bad.get_or_insert((v, at));
                    }
                });
            }
            let end = data.insts.len();
            if let Some(term) = &data.term {
                term.operands(|v| {
                    if !self.defined_before(&dom, v, i, end) {
                        bad.get_or_insert((v, end));
                    }
                });
            }
            if let Some((v, at)) = bad {
                return Err(format!("b{i} at {at}: {v} is used before its definition"));
            }
        }
        Ok(())
    }

    fn defined_before(&self, dom: &Dominators, v: Value, block: usize, at: usize) -> bool {
        match self.values.get(v.index()) {
            None => false,
            Some((_, Def::Args)) => true,
            Some((_, Def::Param(b, _))) => dom.dominates(b.index(), block),
            Some((_, Def::Inst(b, i))) if b.index() == block => (*i as usize) < at,
            Some((_, Def::Inst(b, _))) => dom.dominates(b.index(), block),
        }
    }
}

fn check_fields(inst: &Inst, width: Width) -> Result<(), String> {
    let elem_ok = |ok: bool| match ok {
        true => Ok(()),
        false => Err("no such operation on this element type".to_string()),
    };
    match inst {
        Inst::Lea(a) | Inst::Prefetch(a) => check_addr(a),
        Inst::IntLoad { addr, .. } | Inst::IntStore { addr, .. } => check_addr(addr),
        Inst::Store {
            form: StoreForm::Part(k),
            ..
        }
        | Inst::Load {
            form: LoadForm::Part(k, _),
            ..
        } if usize::from(*k) >= width.bytes() / 16 => Err(format!("no part {k}")),
        Inst::Load { addr, .. } | Inst::Store { addr, .. } => check_addr(addr),
        Inst::LoadShort { ty, mask, addr } | Inst::StoreShort { ty, mask, addr, .. } => {
            elem_ok(ty.is_short() && (mask.is_none() || width == Width::Z512))?;
            check_addr(addr)
        }
        Inst::IntShift { amount, .. } if *amount >= 64 => Err("shift of 64 or more".into()),
        Inst::Shift { amount, .. } if *amount >= 32 => Err("shift of 32 or more".into()),
        Inst::Lanes { elem, bits } if bits.len() != width.lanes(*elem) => {
            Err(format!("{} lanes expected", width.lanes(*elem)))
        }
        Inst::Permute { elem, lanes, .. } => {
            let n = width.lanes(*elem);
            let fits = lanes.len() == n && lanes.iter().all(|k| usize::from(*k) < n);
            let message = || format!("{n} lanes below {n} expected");
            fits.then_some(()).ok_or_else(message)
        }
        Inst::Pick { elem, lanes, .. } => {
            let n = width.lanes(*elem);
            let fits = lanes.len() == n && lanes.iter().all(|k| usize::from(*k) < 2 * n);
            let message = || format!("{n} lanes below {} of 512 bits expected", 2 * n);
            (fits && width == Width::Z512)
                .then_some(())
                .ok_or_else(message)
        }
        Inst::Unary { op, elem, .. } => {
            let integer = matches!(op, UnaryOp::Abs | UnaryOp::FromI32 | UnaryOp::FromF16);
            elem_ok(integer == (*elem == Elem::I32))
        }
        Inst::Binary { op, elem, .. } => elem_ok(match op {
            BinaryOp::Div => *elem == Elem::F32,
            BinaryOp::Scale => *elem == Elem::F32 && width == Width::Z512,
            BinaryOp::Shl | BinaryOp::Shr | BinaryOp::Sar => *elem == Elem::I32,
            _ => true,
        }),
        Inst::Fma { elem, .. } => elem_ok(*elem == Elem::F32),
        Inst::Cmp { cmp, elem, .. } => elem_ok(*cmp != Cmp::Unordered || *elem == Elem::F32),
        _ => Ok(()),
    }
}

fn check_addr(addr: &Addr) -> Result<(), String> {
    match addr.index {
        Some((_, scale)) if !matches!(scale, 1 | 2 | 4 | 8) => {
            Err(format!("scale {scale} is not 1, 2, 4 or 8"))
        }
        _ => Ok(()),
    }
}

/// Immediate dominators by iteration over a reverse postorder.
struct Dominators {
    /// Position in the reverse postorder; `usize::MAX` when unreachable.
    order: Vec<usize>,
    /// Immediate dominator; the entry is its own.
    idom: Vec<usize>,
}

impl Dominators {
    fn new(f: &Function) -> Self {
        let rpo = f.reverse_postorder();
        let n = f.blocks.len();
        let mut order = vec![usize::MAX; n];
        for (at, b) in rpo.iter().enumerate() {
            order[b.index()] = at;
        }
        let mut preds = vec![Vec::new(); n];
        for b in &rpo {
            let term = f.blocks[b.index()].term.as_ref();
            for t in term.into_iter().flat_map(|t| t.targets()) {
                preds[t.block.index()].push(b.index());
            }
        }
        let mut dom = Self {
            order,
            idom: vec![usize::MAX; n],
        };
        dom.idom[0] = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for b in &rpo[1..] {
                changed |= dom.update(b.index(), &preds[b.index()]);
            }
        }
        dom
    }

    fn update(&mut self, block: usize, preds: &[usize]) -> bool {
        let known = preds
            .iter()
            .copied()
            .filter(|p| self.idom[*p] != usize::MAX);
        let Some(new) = known.reduce(|a, b| self.meet(a, b)) else {
            return false;
        };
        std::mem::replace(&mut self.idom[block], new) != new
    }

    fn meet(&self, mut a: usize, mut b: usize) -> usize {
        while a != b {
            if self.order[a] > self.order[b] {
                a = self.idom[a];
            } else {
                b = self.idom[b];
            }
        }
        a
    }

    fn reachable(&self, block: usize) -> bool {
        self.order[block] != usize::MAX
    }

    fn dominates(&self, a: usize, mut b: usize) -> bool {
        if !self.reachable(a) {
            return false;
        }
        while self.order[b] > self.order[a] {
            b = self.idom[b];
        }
        a == b
    }
}

impl Function {
    /// The blocks reachable from the entry, each before its successors except along back edges.
    pub fn reverse_postorder(&self) -> Vec<Block> {
        let successors = |b: usize| -> Vec<usize> {
            let term = self.blocks[b].term.as_ref();
            let targets = term.into_iter().flat_map(|t| t.targets());
            targets.map(|t| t.block.index()).collect()
        };
        let mut seen = vec![false; self.blocks.len()];
        let mut post = Vec::new();
        let mut stack = vec![(0, successors(0))];
        seen[0] = true;
        while let Some((block, rest)) = stack.last_mut() {
            match rest.pop() {
                Some(next) if !seen[next] => {
                    seen[next] = true;
                    stack.push((next, successors(next)));
                }
                Some(_) => {}
                None => {
                    post.push(Block(*block as u32));
                    stack.pop();
                }
            }
        }
        post.reverse();
        post
    }
}

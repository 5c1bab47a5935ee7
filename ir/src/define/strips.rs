//! What definitions that go strip by strip share: values of which a strip lies in scratch memory, and
//! strips of which the last one is shorter.
use super::Define;
use crate::expr::Expr;
use crate::loops::{BufferId, Cond, Stmt};

/// A value of which a strip lies in scratch memory.
pub(super) struct Kept {
    /// The scratch buffer.
    pub buffer: BufferId,
    /// The axes of the value that the buffer has.
    pub axes: Vec<usize>,
    /// That of them along which the strip is a part, and the first index of the strip on it.
    pub part: Option<(usize, Expr)>,
}

impl Kept {
    /// The element of the scratch buffer that holds the element at an index of the value.
    pub fn place(&self, index: &[Expr]) -> (BufferId, Vec<Expr>) {
        let part = |d: &usize| match &self.part {
            Some((row, first)) if row == d => index[*d].clone() - first.clone(),
            _ => index[*d].clone(),
        };
        (self.buffer, self.axes.iter().map(part).collect())
    }
}

impl Define<'_> {
    /// Appends statements that read what others among them write to scratch memory: values are
    /// computed where they are asked for, and not before.
    pub(super) fn in_order(&mut self, body: impl FnOnce(&mut Self)) {
        let stmts = self.in_guard(body);
        self.top().stmts.extend(stmts);
    }

    /// Strip number `at` of `total` rows in strips of `step`: each strip has `step` rows, but for
    /// the last one, which has what is left.
    pub(crate) fn strip_or_tail(
        &mut self,
        total: i64,
        step: i64,
        at: &Expr,
        strip: &mut dyn FnMut(&mut Self, i64),
    ) {
        if total % step == 0 || total < step {
            return self.in_order(|cx| strip(cx, total.min(step)));
        }
        let [then, otherwise] =
            [step, total % step].map(|rows| self.in_guard(|cx| strip(cx, rows)));
        let whole = Expr::from(total / step - 1) - at.clone();
        self.push(Stmt::If {
            cond: Cond::Affine(vec![whole]),
            then,
            otherwise,
        });
    }
}

//! A kernel that is being scheduled: it changes by primitives only, which are recorded, as are the
//! parameters that recipes ask for.
use super::parameters::{Choices, Parameter, Values};
use super::primitives::{At, Forwarded, Primitive, Rejected, edit};
use super::trace::{Line, Trace};
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{For, Kernel, Layout, Stmt};

/// A kernel and what made it of the naive one.
pub struct Scheduler {
    kernel: Kernel,
    trace: Trace,
    choices: Choices,
}

impl Scheduler {
    /// A naive kernel, and what is said of the parameters of its schedule.
    pub fn new(kernel: Kernel, values: Values) -> Scheduler {
        Scheduler {
            kernel,
            trace: Trace::default(),
            choices: Choices::new(values),
        }
    }

    /// The kernel as it is, and what parameters are asked from.
    pub fn kernel_and_choices(&mut self) -> (&Kernel, &mut Choices) {
        (&self.kernel, &mut self.choices)
    }

    /// What parameters are asked from.
    pub fn choices(&mut self) -> &mut Choices {
        &mut self.choices
    }

    /// The kernel as it is.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The kernel, the steps that lead to it, and the parameters that were asked for.
    pub fn finish(self) -> (Kernel, Trace, Vec<Parameter>) {
        (self.kernel, self.trace, self.choices.asked())
    }

    /// Applies a primitive.
    ///
    /// Errors: why it does not apply; the kernel stays as it is.
    pub fn apply(&mut self, primitive: Primitive) -> Result<Forwarded, Rejected> {
        let forwarded = primitive.apply(&mut self.kernel)?;
        self.trace.lines.push(Line::Step {
            primitive,
            made: forwarded.made.clone(),
        });
        Ok(forwarded)
    }

    /// Applies a primitive if there is something to do.
    ///
    /// Errors: why it does not apply, other than that nothing would change.
    pub fn try_apply(&mut self, primitive: Primitive) -> Result<Option<Forwarded>, Rejected> {
        match self.apply(primitive) {
            Ok(forwarded) => Ok(Some(forwarded)),
            Err(Rejected::NoEffect) => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    /// Runs a recipe of one step.
    ///
    /// Errors: why it does not apply; the kernel stays as it is.
    pub fn step(&mut self, recipe: &str, primitive: Primitive) -> Result<(), Rejected> {
        let lines = self.trace.lines.len();
        self.apply(primitive)?;
        self.trace.lines.insert(lines, Line::Recipe(recipe.into()));
        Ok(())
    }

    /// Runs a recipe, all of it or nothing.
    ///
    /// Errors: what the recipe reports; the kernel stays as it was.
    pub fn recipe<T>(
        &mut self,
        name: &str,
        steps: impl FnOnce(&mut Scheduler) -> Result<T, Rejected>,
    ) -> Result<T, Rejected> {
        let before = self.kernel.clone();
        let lines = self.trace.lines.len();
        self.trace.lines.push(Line::Recipe(name.into()));
        let done = steps(self);
        if done.is_err() {
            self.kernel = before;
            self.trace.lines.truncate(lines);
        }
        done
    }

    /// The loop over a variable.
    ///
    /// Errors: there is none.
    pub fn find(&self, var: Var) -> Result<&For, Rejected> {
        edit::find(&self.kernel, var).map(|(_, l)| l)
    }

    /// The extent of a loop, if it is a number.
    pub fn extent(&self, var: Var) -> Option<i64> {
        self.find(var).ok()?.extent.as_const()
    }

    /// The loop that holds nothing but this one, if there is such a loop.
    pub fn parent(&self, var: Var) -> Option<Var> {
        let (place, _) = edit::find(&self.kernel, var).ok()?;
        let parent = place.parent()?;
        match &parent.list(&self.kernel.body)[parent.at] {
            Stmt::For(l) if l.body.len() == 1 => Some(l.var),
            _ => None,
        }
    }

    /// The statements of the list that a loop stands in.
    pub fn siblings(&self, var: Var) -> &[Stmt] {
        let found = edit::find(&self.kernel, var).ok();
        found.map_or(&[], |(place, _)| place.list(&self.kernel.body))
    }

    /// Splits a loop; gives the loop over blocks and the one inside.
    ///
    /// Errors: as `split`.
    pub fn split(&mut self, var: Var, by: i64) -> Result<(Var, Var), Rejected> {
        let made = self.apply(Primitive::Split(var, by))?.made;
        Ok((made[0], made[1]))
    }

    /// Cuts a loop; gives the parts.
    ///
    /// Errors: as `cut`.
    pub fn cut(&mut self, var: Var, at: At) -> Result<Vec<Var>, Rejected> {
        Ok(self.apply(Primitive::Cut(var, at))?.made)
    }

    /// Nests loops in an order, if they are not nested so.
    ///
    /// Errors: as `reorder`.
    pub fn reorder(&mut self, vars: Vec<Var>) -> Result<(), Rejected> {
        self.try_apply(Primitive::Reorder(vars)).map(drop)
    }

    /// Makes one loop of several.
    ///
    /// Errors: as `fuse`.
    pub fn fuse(&mut self, vars: Vec<Var>) -> Result<Var, Rejected> {
        Ok(self.apply(Primitive::Fuse(vars))?.made[0])
    }

    /// Lays a buffer out.
    ///
    /// Errors: as `set_layout`.
    pub fn set_layout(&mut self, name: String, layout: Layout) -> Result<(), Rejected> {
        self.try_apply(Primitive::SetLayout(name, layout)).map(drop)
    }

    /// Fetches a buffer so many elements ahead.
    ///
    /// Errors: as `prefetch`.
    pub fn prefetch(&mut self, name: String, by: i64) -> Result<(), Rejected> {
        self.try_apply(Primitive::Prefetch(name, by)).map(drop)
    }

    /// Removes those of the loops that run once.
    ///
    /// Errors: as `drop_unit_loops`.
    pub fn drop_units(&mut self, mut vars: Vec<Var>) -> Result<(), Rejected> {
        vars.retain(|v| self.extent(*v) == Some(1));
        self.try_apply(Primitive::DropUnitLoops(vars)).map(drop)
    }
}

//! Graphs to e-graphs and back.
use super::extract::Choice;
use super::facts::{Leaf, Leaves, SMALL, Terms};
use super::term::{Call, Known, Term};
use crate::graph::Rewriter;
use egg::{EGraph, Id, Language};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tensmith_ir::graph::{Def, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// A graph as terms.
pub struct Imported {
    /// The terms.
    pub terms: Terms,
    /// The class of each value of the graph.
    pub classes: Vec<Id>,
    /// The values that leaves stand for.
    leaves: Vec<ValueId>,
    /// The members that nodes and values became, in the order of the graph.
    pub written: Vec<(Id, Term)>,
    /// The node that a class was imported from first.
    homes: HashMap<Id, NodeId>,
}

impl Imported {
    /// What others know of a value.
    pub fn leaf(&self, value: ValueId) -> Leaf {
        let facts = &self.terms[self.classes[value.0 as usize]].data;
        Leaf {
            ty: facts.ty().clone(),
            fixed: facts.fixed,
            sign: facts.sign,
        }
    }

    /// The classes that outputs and nodes that stay outside need.
    pub fn roots(&self, graph: &Graph) -> Vec<Id> {
        let staying = graph.nodes.iter().filter(|n| stays(n));
        let roots = staying.flat_map(|n| &n.inputs).chain(&graph.outputs);
        roots
            .map(|v| self.terms.find(self.classes[v.0 as usize]))
            .collect()
    }
}

/// Whether a node stays outside: its results are leaves.
pub(super) fn stays(node: &Node) -> bool {
    node.op.class == Class::Control || !node.regions.is_empty()
}

/// Adds all values of a graph, of which nothing is known but their types.
pub fn import(graph: &Graph) -> Imported {
    let known = |v: &ValueId| Leaf::input(graph.ty(*v).clone());
    import_knowing(graph, &graph.inputs.iter().map(known).collect::<Vec<_>>())
}

/// Adds all values of a graph, of whose inputs something is known.
pub fn import_knowing(graph: &Graph, inputs: &[Leaf]) -> Imported {
    let mut leaves = Vec::new();
    let mut kinds = Vec::new();
    for (k, value) in graph.values.iter().enumerate() {
        let unknown = || Leaf::input(value.ty.clone());
        let outside = match &value.def {
            Def::Input(n) => Some(inputs[*n].clone()),
            Def::Constant(t) if t.count() > SMALL => Some(Leaf::constant(t)),
            Def::Constant(_) => None,
            Def::Node(n, _) => stays(graph.node(*n)).then(unknown),
        };
        if let Some(leaf) = outside {
            leaves.push(ValueId(k as u32));
            kinds.push(leaf);
        }
    }
    let mut terms: Terms = EGraph::new(Leaves {
        leaves: kinds,
        ranges: graph.ranges(),
    });
    let mut written = Vec::new();
    let mut add = |term: Term| {
        let class = terms.add(term.clone());
        written.push((class, term));
        class
    };
    let mut classes = vec![None; graph.values.len()];
    for (k, id) in leaves.iter().enumerate() {
        classes[id.0 as usize] = Some(add(Term::Leaf(k as u32)));
    }
    for (k, value) in graph.values.iter().enumerate() {
        if let (None, Def::Constant(t)) = (classes[k], &value.def) {
            classes[k] = Some(add(Term::Constant(Known(Arc::new(t.clone())))));
        }
    }
    let mut homes = HashMap::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        if stays(node) {
            continue;
        }
        let operand = |v: &ValueId| classes[v.0 as usize].expect("invariant: nodes are in order");
        let args = node.inputs.iter().map(operand).collect();
        let whole = add(Term::Call(Call::new(node.op, node.attrs.clone(), args)));
        homes.entry(whole).or_insert(id);
        let single = node.outputs.len() == 1;
        for (k, output) in node.outputs.iter().enumerate() {
            let class = match single {
                true => whole,
                false => add(Term::Part(k as u32, [whole])),
            };
            classes[output.0 as usize] = Some(class);
        }
    }
    terms.rebuild();
    let all = "invariant: all values were visited";
    Imported {
        terms,
        classes: classes.into_iter().map(|c| c.expect(all)).collect(),
        leaves,
        written,
        homes,
    }
}

/// The nodes that a rule made, by their names, with the rule's.
pub type Made = Vec<(String, &'static str)>;

/// Rebuilds a graph from the members that were chosen; `origin` says which rule made a term.
///
/// Errors: never for terms of valid graphs.
pub fn export(
    graph: &Graph,
    from: &Imported,
    choice: &Choice,
    origin: &HashMap<Term, &'static str>,
) -> Result<(Graph, Made), GraphError> {
    let mut homes = HashMap::new();
    for (class, node) in &from.homes {
        let home = homes.entry(from.terms.find(*class)).or_insert(*node);
        *home = (*home).min(*node);
    }
    let mut exporter = Exporter {
        cx: Rewriter::new(graph),
        from,
        choice,
        origin,
        homes,
        values: HashMap::new(),
        made: Vec::new(),
    };
    let needed = exporter.needed();
    for id in graph.node_ids() {
        let node = graph.node(id);
        if stays(node) {
            for input in &node.inputs {
                exporter.set(*input)?;
            }
            exporter.cx.copy(node)?;
            continue;
        }
        for output in &node.outputs {
            let class = from.terms.find(from.classes[output.0 as usize]);
            if needed.contains(&class) {
                exporter.value(class, &node.name)?;
            }
        }
    }
    for output in &graph.outputs {
        exporter.set(*output)?;
    }
    Ok((exporter.cx.finish(), exporter.made))
}

struct Exporter<'g> {
    cx: Rewriter<'g>,
    from: &'g Imported,
    choice: &'g Choice,
    origin: &'g HashMap<Term, &'static str>,
    homes: HashMap<Id, NodeId>,
    values: HashMap<Id, Vec<ValueId>>,
    made: Made,
}

impl Exporter<'_> {
    /// The classes that the roots need.
    fn needed(&self) -> HashSet<Id> {
        let mut todo = self.from.roots(self.cx.old);
        let mut needed = HashSet::new();
        while let Some(class) = todo.pop() {
            if needed.insert(class) {
                let term = self.choice.term(&self.from.terms, class);
                let children = term.children();
                todo.extend(children.iter().map(|c| self.from.terms.find(*c)));
            }
        }
        needed
    }

    /// States the new value of an old one.
    fn set(&mut self, old: ValueId) -> Result<(), GraphError> {
        let name = self.cx.old.value(old).name.clone();
        let new = self.value(self.from.classes[old.0 as usize], &name)?;
        self.cx.set(old, new);
        Ok(())
    }

    /// The value of a class of single values.
    fn value(&mut self, class: Id, label: &str) -> Result<ValueId, GraphError> {
        Ok(self.values_of(class, label)?[0])
    }

    /// The values of a class, made where they are needed first; `label` names nodes that the graph
    /// did not have.
    fn values_of(&mut self, class: Id, label: &str) -> Result<Vec<ValueId>, GraphError> {
        let class = self.from.terms.find(class);
        if let Some(values) = self.values.get(&class) {
            return Ok(values.clone());
        }
        let home = self.homes.get(&class).map(|id| self.cx.old.node(*id));
        let label = home.map_or(label, |n| n.name.as_str());
        let term = self.choice.term(&self.from.terms, class);
        let now = term.clone().map_children(|c| self.from.terms.find(c));
        if let (Some(rule), Term::Call(_)) = (self.origin.get(&now), term) {
            self.made.push((label.into(), rule));
        }
        let values = match term {
            Term::Leaf(k) => vec![self.cx.get(self.from.leaves[*k as usize])],
            Term::Constant(Known(t)) => vec![self.cx.new.add_constant(label, (**t).clone())],
            Term::Part(k, [of]) => vec![self.values_of(*of, label)?[*k as usize]],
            Term::Call(call) => {
                let args = call.args.iter().map(|c| self.value(*c, label));
                let args = args.collect::<Result<Vec<_>, _>>()?;
                self.cx
                    .new
                    .add(call.op, label, &args, (*call.attrs).clone())?
            }
        };
        self.values.insert(class, values.clone());
        Ok(values)
    }
}

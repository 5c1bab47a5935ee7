//! What each pass did to a graph, told by comparing the nodes before and after it.
use std::collections::HashMap;
use tensmith_ir::graph::{Graph, Node};

/// What one pass did to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassReport {
    /// The pass.
    pub name: &'static str,
    /// Nodes that it put something else in place of; those that it made, if it left all others.
    pub found: usize,
    /// The nodes of the optimised graph that it made, by their names.
    pub made: Vec<String>,
}

/// What tells nodes apart whatever their operands became: a pass leaves them if it only changes
/// what they read.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Look {
    name: String,
    op: &'static str,
    attrs: String,
}

impl Look {
    fn of(node: &Node) -> Self {
        Look {
            name: node.name.clone(),
            op: node.op.name,
            attrs: format!("{:?}", node.attrs),
        }
    }
}

/// The way of a graph through passes.
#[derive(Clone, Default)]
pub(super) struct Trail {
    nodes: HashMap<Look, usize>,
    maker: HashMap<Look, &'static str>,
    found: Vec<(&'static str, usize)>,
}

impl Trail {
    /// Begins with a graph. What is found and made from here on adds to what was so far.
    pub(super) fn begin(&mut self, graph: &Graph) {
        self.nodes = looks(graph);
    }

    /// A pass made this graph of the last one.
    pub(super) fn add(&mut self, pass: &'static str, graph: &Graph) {
        let after = looks(graph);
        let more = |a: &HashMap<Look, usize>, b: &HashMap<Look, usize>| -> Vec<(Look, usize)> {
            let more = |(look, n): (&Look, &usize)| {
                (
                    look.clone(),
                    n.saturating_sub(b.get(look).copied().unwrap_or(0)),
                )
            };
            a.iter().map(more).filter(|(_, n)| *n > 0).collect()
        };
        let (gone, made) = (more(&self.nodes, &after), more(&after, &self.nodes));
        let count = |looks: &[(Look, usize)]| -> usize { looks.iter().map(|(_, n)| n).sum() };
        let found = match count(&gone) {
            0 => count(&made),
            n => n,
        };
        if found > 0 {
            self.found.push((pass, found));
        }
        self.maker
            .extend(made.into_iter().map(|(look, _)| (look, pass)));
        self.nodes = after;
    }

    /// Adds what passes did to this graph, which they made in the end, to reports of all passes.
    pub(super) fn end(&self, graph: &Graph, reports: &mut Vec<PassReport>) {
        let of = |reports: &mut Vec<PassReport>, name: &'static str| {
            let at = reports.iter().position(|r| r.name == name);
            at.unwrap_or_else(|| {
                reports.push(PassReport {
                    name,
                    found: 0,
                    made: vec![],
                });
                reports.len() - 1
            })
        };
        for (pass, found) in &self.found {
            let at = of(reports, pass);
            reports[at].found += found;
        }
        for node in &graph.nodes {
            if let Some(pass) = self.maker.get(&Look::of(node)) {
                let at = of(reports, pass);
                reports[at].made.push(node.name.clone());
            }
        }
    }
}

fn looks(graph: &Graph) -> HashMap<Look, usize> {
    let mut looks = HashMap::new();
    for node in &graph.nodes {
        *looks.entry(Look::of(node)).or_insert(0) += 1;
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::graph::parse_graph;

    fn graph(body: &str, output: &str) -> Graph {
        parse_graph(&format!(
            "graph \"g\" () {{\n  %0 = input \"x\" : f32[3]\n{body}  output \"y\" = {output}\n}}\n"
        ))
        .unwrap()
    }

    #[test]
    fn passes_are_told_by_what_they_leave_and_make() {
        let first = graph(
            "  %1 = neg(%0) {} \"a\" : f32[3]\n  %2 = neg(%1) {} \"b\" : f32[3]\n  %3 = exp(%2) {} \"c\" : f32[3]\n",
            "%3",
        );
        let second = graph("  %1 = exp(%0) {} \"c\" : f32[3]\n", "%1");
        let third = graph(
            "  %1 = exp(%0) {} \"c\" : f32[3]\n  %2 = abs(%1) {} \"c\" : f32[3]\n",
            "%2",
        );
        let last = graph("  %1 = abs(%0) {} \"c\" : f32[3]\n", "%1");
        let mut trail = Trail::default();
        trail.begin(&first);
        trail.add("cancel", &second);
        trail.add("nothing", &second);
        trail.add("append", &third);
        trail.add("drop", &last);
        let mut reports = vec![];
        trail.end(&last, &mut reports);
        let report = |name, found, made: &[&str]| PassReport {
            name,
            found,
            made: made.iter().map(ToString::to_string).collect(),
        };
        // What `exp` reads is another value, and still it is the same node.
        let want = [
            report("cancel", 2, &[]),
            report("append", 1, &["c"]),
            report("drop", 1, &[]),
        ];
        assert_eq!(reports, want);
        trail.end(&last, &mut reports);
        assert_eq!(reports[1], report("append", 2, &["c", "c"]));
    }
}

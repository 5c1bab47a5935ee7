//! What passes and the rules of the e-graph did to a model, and which algorithms and layouts were
//! chosen.
use serde::{Serialize, Serializer};
use tensmith_passes::alternatives::{self, Compiled};
use tensmith_passes::graph::egraph::rules;
use tensmith_passes::partition::Search;
use tensmith_passes::pipeline::{self, Decisions};

/// What the rules did, over a model and its subgraphs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RulesReport {
    /// Regions that the graphs were cut into.
    pub regions: usize,
    /// Those that are not equal to another one, but for weights: each is saturated once.
    pub distinct_regions: usize,
    /// Why the rules ended, for each graph: subgraphs first.
    pub stop: Vec<&'static str>,
    /// Rounds of rules.
    pub rounds: usize,
    /// Nodes of all e-graphs.
    pub nodes: usize,
    /// Classes of all e-graphs.
    pub classes: usize,
    /// What the kernels are predicted to take that the directed path alone would make.
    ///
    /// Units: cycles of one core, but for scalar work, of which normal forms decide.
    pub cycles_directed: f64,
    /// What those are predicted to take that were made: of each graph, those of the rules, unless those
    /// of the directed path are cheaper, in which only forms stand that would overflow or lose all
    /// digits otherwise, or that make tasks of recurrent cells one.
    ///
    /// Units: as those of the directed path.
    pub cycles: f64,
    /// Graphs for which the directed path alone is cheaper, and was taken.
    pub directed: usize,
    /// All rules, in the order of their families; then passes, algorithms and layouts.
    pub rules: Vec<RuleReport>,
    /// The nodes that rules and passes made, by their names, with the rule's or the pass's.
    pub made: Vec<(String, &'static str)>,
    /// How kernels were chosen after them.
    #[serde(serialize_with = "serialise")]
    pub fusion: Search,
}

/// How it was chosen which nodes become one kernel, as a line.
fn fusion_text(search: &Search) -> String {
    format!(
        "kernels: {} regions, {} of them searched in {} visits, {} to the limit; {} nodes apart, \
         {} of {} offers of strips taken, {} concatenations in place\n",
        search.regions,
        search.searched,
        search.visits,
        search.limited,
        search.apart,
        search.taken,
        search.offers,
        search.in_place
    )
}

fn serialise<S: Serializer>(search: &Search, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(search.counts())
}

/// What one rule or pass did, or how often an algorithm or a layout was taken.
#[derive(Clone, Debug, Serialize)]
pub struct RuleReport {
    /// The name.
    pub name: &'static str,
    /// `rule`, `pass`, `algorithm` or `layout`.
    pub kind: &'static str,
    /// What it does to rounding: exact, or reassociates.
    pub rounding: &'static str,
    /// What it replaces by what; what an algorithm or a layout is.
    pub equation: String,
    /// What an algorithm or a layout was chosen against; empty for a rule, whose terms compete with
    /// all that are equal to them, and for a pass, which is taken wherever it applies.
    pub against: &'static str,
    /// How often it found something new; how many nodes a pass replaced; in how many places an
    /// algorithm or a layout was possible.
    pub fired: usize,
    /// How many nodes of the optimised graph it made; in how many places it was taken.
    pub made: usize,
}

impl RulesReport {
    /// Sums up what was done to a graph and its subgraphs, without rules if there was no e-graph.
    pub fn of(decisions: &Decisions, compiled: &Compiled<'_>) -> Self {
        let reports = &decisions.egraph;
        let mut made: Vec<_> = reports
            .iter()
            .flat_map(|r| r.made.iter().cloned())
            .collect();
        let rules = rules::all().map(|rule| {
            let fired = reports.iter().flat_map(|r| &r.fired);
            RuleReport {
                name: rule.name,
                kind: "rule",
                rounding: rule.rounding.name(),
                equation: rule.equation(),
                against: "",
                fired: fired.filter(|(n, _)| *n == rule.name).map(|(_, k)| k).sum(),
                made: made.iter().filter(|(_, n)| *n == rule.name).count(),
            }
        });
        let rules: Vec<_> = rules.collect();
        let told = || decisions.passes.iter().flatten();
        let passes = pipeline::passes().into_iter().map(|pass| {
            let of = || told().filter(|r| r.name == pass.name);
            RuleReport {
                name: pass.name,
                kind: "pass",
                rounding: pass.rounding.name(),
                equation: pass.text.into(),
                against: "",
                fired: of().map(|r| r.found).sum(),
                made: of().map(|r| r.made.len()).sum(),
            }
        });
        for report in told() {
            made.extend(report.made.iter().map(|node| (node.clone(), report.name)));
        }
        let others = alternatives::ALL.iter().map(|other| {
            let count = other.count(compiled);
            RuleReport {
                name: other.name,
                kind: other.kind.name(),
                rounding: other.rounding.name(),
                equation: other.text.into(),
                against: other.against,
                fired: count.places,
                made: count.taken,
            }
        });
        RulesReport {
            regions: reports.iter().map(|r| r.regions).sum(),
            distinct_regions: reports.iter().map(|r| r.distinct).sum(),
            stop: reports.iter().map(|r| r.stop.text()).collect(),
            rounds: reports.iter().map(|r| r.rounds).sum(),
            nodes: reports.iter().map(|r| r.nodes).sum(),
            classes: reports.iter().map(|r| r.classes).sum(),
            cycles_directed: reports.iter().fold(0.0, |sum, r| sum + r.cycles[0]),
            cycles: reports.iter().fold(0.0, |sum, r| sum + r.cycles[1]),
            directed: reports.iter().filter(|r| r.gave_way).count(),
            rules: rules.into_iter().chain(passes).chain(others).collect(),
            made,
            fusion: compiled.partition.search,
        }
    }

    /// The rules and passes that made nodes of these names.
    pub fn rules_of(&self, nodes: &[String]) -> Vec<&'static str> {
        let of = self.made.iter().filter(|(node, _)| nodes.contains(node));
        let mut rules: Vec<&'static str> = of.map(|(_, rule)| *rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// A line for each rule, pass, algorithm and layout.
    pub fn text(&self) -> String {
        // Without an e-graph there is nothing to compare.
        let cycles = match self.stop.is_empty() {
            true => String::new(),
            false => format!(
                "predicted cycles without scalar work: {:.4e}, {:.4e} by the directed path alone{}\n",
                self.cycles,
                self.cycles_directed,
                match self.directed {
                    0 => String::new(),
                    n => format!(", which was taken for {n} of {} graphs", self.stop.len()),
                }
            ),
        };
        let line = |r: &RuleReport| {
            let (fired, made) = (r.fired, r.made);
            let against = match r.against {
                "" => String::new(),
                other => format!("; else {other}"),
            };
            format!(
                "{fired:>5} {made:>5}  {:<9}  {:<12} {:<30} {}{against}\n",
                r.kind, r.rounding, r.name, r.equation
            )
        };
        let rules: String = self.rules.iter().map(line).collect();
        format!(
            "found  made  kind       rounding     name                           equation\n{rules}\n\
             {} regions, {} of them distinct\n\
             {} nodes in {} classes after {} rounds: {}\n\
             {cycles}{}",
            self.regions,
            self.distinct_regions,
            self.nodes,
            self.classes,
            self.rounds,
            if self.stop.is_empty() {
                "no e-graph".into()
            } else {
                self.stop.join(", ")
            },
            fusion_text(&self.fusion),
        )
    }
}

//! What the rules of the e-graph did to a model.
use serde::Serialize;
use tensmith_passes::graph::egraph::{Report, rules};
use tensmith_passes::partition::Search;

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
    /// What the graphs were predicted to cost before the rules.
    ///
    /// Units: about vector operations on elements.
    pub cost_before: f64,
    /// What they are predicted to cost after them; units as before.
    pub cost_after: f64,
    /// All rules, in the order of their families.
    pub rules: Vec<RuleReport>,
    /// The nodes that rules made, by their names, with the rule's.
    pub made: Vec<(String, &'static str)>,
    /// How kernels were chosen after them.
    pub fusion: FusionReport,
}

/// How it was chosen which nodes become one kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FusionReport {
    /// Sets of nodes that were chosen among independently of others.
    pub regions: usize,
    /// Those in which more than one choice was looked at.
    pub searched: usize,
    /// Nodes visited in branches.
    pub visits: usize,
    /// Regions whose search ended at its limit of visits; all others ended with the best choice.
    pub limited: usize,
    /// Nodes that begin kernels of their own because that is predicted to be faster.
    pub apart: usize,
    /// Offers to hand on values in strips.
    pub offers: usize,
    /// Those that were taken.
    pub taken: usize,
}

impl From<&Search> for FusionReport {
    fn from(search: &Search) -> Self {
        FusionReport {
            regions: search.regions,
            searched: search.searched,
            visits: search.visits,
            limited: search.limited,
            apart: search.apart,
            offers: search.offers,
            taken: search.taken,
        }
    }
}

impl FusionReport {
    /// A line.
    fn text(&self) -> String {
        format!(
            "kernels: {} regions, {} of them searched in {} visits, {} to the limit; {} nodes \
             apart, {} of {} offers of strips taken\n",
            self.regions,
            self.searched,
            self.visits,
            self.limited,
            self.apart,
            self.taken,
            self.offers
        )
    }
}

/// What one rule did.
#[derive(Clone, Debug, Serialize)]
pub struct RuleReport {
    /// The rule's name.
    pub name: &'static str,
    /// What it does to rounding: exact, or reassociates.
    pub rounding: &'static str,
    /// What it replaces by what.
    pub equation: String,
    /// How often it found something new.
    pub fired: usize,
    /// How many nodes of the optimised graph it made.
    pub made: usize,
}

impl RulesReport {
    /// Sums up what was done to a graph and its subgraphs; empty without an e-graph.
    pub fn of(reports: &[Report], search: &Search) -> Self {
        let made: Vec<_> = reports
            .iter()
            .flat_map(|r| r.made.iter().cloned())
            .collect();
        let rules = rules::all().map(|rule| {
            let fired = reports.iter().flat_map(|r| &r.fired);
            RuleReport {
                name: rule.name,
                rounding: rule.rounding.name(),
                equation: rule.equation(),
                fired: fired.filter(|(n, _)| *n == rule.name).map(|(_, k)| k).sum(),
                made: made.iter().filter(|(_, n)| *n == rule.name).count(),
            }
        });
        RulesReport {
            regions: reports.iter().map(|r| r.regions).sum(),
            distinct_regions: reports.iter().map(|r| r.distinct).sum(),
            stop: reports.iter().map(|r| r.stop.text()).collect(),
            rounds: reports.iter().map(|r| r.rounds).sum(),
            nodes: reports.iter().map(|r| r.nodes).sum(),
            classes: reports.iter().map(|r| r.classes).sum(),
            cost_before: reports.iter().map(|r| r.cost.0).sum(),
            cost_after: reports.iter().map(|r| r.cost.1).sum(),
            rules: rules.collect(),
            made,
            fusion: search.into(),
        }
    }

    /// The rules that made nodes of these names.
    pub fn rules_of(&self, nodes: &[String]) -> Vec<&'static str> {
        let of = self.made.iter().filter(|(node, _)| nodes.contains(node));
        let mut rules: Vec<&'static str> = of.map(|(_, rule)| *rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// A line for each rule.
    pub fn text(&self) -> String {
        let line = |r: &RuleReport| {
            let (fired, made) = (r.fired, r.made);
            format!(
                "{fired:>5} {made:>5}  {:<12} {:<26} {}\n",
                r.rounding, r.name, r.equation
            )
        };
        let rules: String = self.rules.iter().map(line).collect();
        format!(
            "found  made  rounding     rule                       equation\n{rules}\n\
             {} regions, {} of them distinct\n\
             {} nodes in {} classes after {} rounds: {}\n\
             predicted cost {:.4e} before, {:.4e} after\n{}",
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
            self.cost_before,
            self.cost_after,
            self.fusion.text(),
        )
    }
}

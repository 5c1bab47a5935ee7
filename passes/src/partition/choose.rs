//! The choice among offers: greedy first, then branch and bound under a count.
//!
//! Nodes that could ever be in one kernel are a region. The incumbent of a region is what the rules
//! make of it when all joins that may. A branch lets a node that may join begin a kernel of its own
//! instead, which may let others join that could not. A branch ends when what was decided, and the
//! least that the rest takes, is no less than the incumbent. Then offers of strips are chosen in
//! the same way: the incumbent takes each that gains, in order, and a branch leaves one out.
use super::offers::Offer;
use super::price::Prices;
use super::rules::{moves_into_sums, widens_for_windows};
use super::said::{Chosen, Said, offers};
use super::{Given, Partition, Partitioner, Visit};
use crate::pipeline::PassOptions;
use petgraph::unionfind::UnionFind;
use std::collections::{BTreeMap, BTreeSet};
use tensmith_ir::graph::NodeId;
use tensmith_ir::ops::{Class, Lower};

/// Nodes that are visited for a region at most.
const VISITS: usize = 256;
/// Offers of strips that are branched on together at most; more keep their greedy choice.
const OFFERS: usize = 16;
/// Concatenations that are asked about one by one at most: each is another search.
const JOINS: usize = 8;
/// What is less than that part of a cost is no difference: the model is no more exact.
const EVEN: f64 = 0.01;

/// How a partition was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Sets of nodes that were chosen among independently of others.
    pub regions: usize,
    /// Regions that had other choices which a bound did not exclude at once.
    pub searched: usize,
    /// Nodes visited in branches.
    pub visits: usize,
    /// Regions whose search ended at its limit of visits.
    pub limited: usize,
    /// Nodes that begin kernels of their own because that is predicted to be faster.
    pub apart: usize,
    /// Offers of strips.
    pub offers: usize,
    /// Those that were taken.
    pub taken: usize,
    /// Concatenations whose parts are written where the results lie.
    pub in_place: usize,
}

impl Search {
    /// All counts, with their names.
    pub fn counts(&self) -> [(&'static str, usize); 8] {
        [
            ("regions", self.regions),
            ("searched", self.searched),
            ("visits", self.visits),
            ("limited", self.limited),
            ("apart", self.apart),
            ("offers", self.offers),
            ("taken", self.taken),
            ("in_place", self.in_place),
        ]
    }
}

/// The best partition that was found; never dearer than the one of the rules, but for what tuning
/// has said.
pub fn choose(mut given: Given<'_>, options: &PassOptions) -> Partition {
    let said = Said::new(options);
    said.streams(&mut given);
    let (joins, firm) = said.joins(&given);
    given.put_in_place(firm.clone());
    let without = priced(&given, &said);
    let mut best = match joins == firm {
        true => without,
        false => with_joins(&mut given, &said, (joins, firm), without),
    };
    let in_place = best.partition.groups.values().filter(|g| g.in_place);
    best.partition.search.in_place = in_place.count();
    if options.spaces {
        let chosen = Chosen {
            given: &given,
            said: &said,
            apart: &best.apart,
            partition: &best.partition,
        };
        best.partition.choices = chosen.choices();
    }
    best.partition
}

/// The best partition where the parts of some concatenations may be written where these lie, and
/// those of `firm` are.
fn with_joins(
    given: &mut Given<'_>,
    said: &Said<'_>,
    (joins, firm): (BTreeSet<NodeId>, BTreeSet<NodeId>),
    without: Priced,
) -> Priced {
    given.put_in_place(joins);
    let mut best = priced(given, said);
    // Those that a kernel would compute as it reads them are asked about one by one.
    let groups = &without.partition.groups;
    let is_doubtful = |id: &NodeId| !groups.contains_key(id) && !firm.contains(id);
    let doubtful = given.joins.iter().copied().filter(is_doubtful);
    let doubtful: Vec<NodeId> = doubtful.take(JOINS).collect();
    // On several threads savings of less than a copy do not show: what threads write then lies
    // between what others write.
    let target = &said.options().target;
    let prices = Prices::new(given, target);
    let least = |id: &NodeId| match target.threads {
        1 => 0.0,
        _ => prices.copy(given.graph.node(*id).outputs[0]),
    };
    let doubtful: Vec<(NodeId, f64)> = doubtful.iter().map(|id| (*id, least(id))).collect();
    for (id, least) in doubtful {
        given.joins.remove(&id);
        let other = priced(given, said);
        match other.cycles < best.cycles + least {
            true => best = other,
            false => {
                given.joins.insert(id);
            }
        }
    }
    if best.cycles < without.cycles {
        return best;
    }
    given.put_in_place(firm);
    without
}

/// A partition, and what it is predicted to take.
struct Priced {
    /// Units: cycles.
    cycles: f64,
    partition: Partition,
    /// The nodes that begin kernels of their own though they may join others.
    apart: BTreeSet<NodeId>,
}

/// The best partition that was found where it is given which concatenations are in place.
fn priced(given: &Given<'_>, said: &Said<'_>) -> Priced {
    let prices = Prices::new(given, &said.options().target);
    let priced = |apart: BTreeSet<NodeId>, search: Search| {
        let partition = made(given, said, &apart, search);
        let groups = partition.groups.values();
        Priced {
            cycles: groups.map(|g| prices.group(g)).sum(),
            partition,
            apart,
        }
    };
    let firm = said.apart(given, BTreeSet::new());
    let mut search = Search::default();
    let apart = apart(given, &prices, &given.by_rules(&firm), &mut search);
    let best = priced(firm, search);
    if apart.is_empty() {
        return best;
    }
    search.apart = apart.len();
    let other = priced(said.apart(given, apart), search);
    match other.cycles < best.cycles {
        true => other,
        false => best,
    }
}

/// The partition where some nodes begin kernels of their own, with the best offers of strips.
pub fn made(
    given: &Given<'_>,
    said: &Said<'_>,
    apart: &BTreeSet<NodeId>,
    search: Search,
) -> Partition {
    let mut partition = given.by_rules(apart);
    let mut offers = offers(given, &partition, said.options());
    said.offers(given.graph, &partition, &mut offers);
    let chosen = best_offers(&offers);
    partition.search = Search {
        offers: offers.len(),
        taken: chosen.len(),
        ..search
    };
    let offers = offers.into_iter().enumerate();
    for (_, offer) in offers.filter(|(k, _)| chosen.contains(k)) {
        offer.take(&mut partition);
    }
    partition
}

/// The nodes that begin kernels of their own although they may join others.
fn apart(
    given: &Given<'_>,
    prices: &Prices<'_>,
    rules: &Partition,
    search: &mut Search,
) -> BTreeSet<NodeId> {
    let mut groups: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    let regions = regions(given);
    let mut of: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (k, nodes) in regions.iter().enumerate() {
        of.extend(nodes.iter().map(|id| (*id, k)));
    }
    for root in rules.groups.keys() {
        groups.entry(regions[of[root]][0]).or_default().push(*root);
    }
    let mut all = BTreeSet::new();
    search.regions = regions.len();
    for nodes in regions {
        let roots = groups.remove(&nodes[0]).unwrap_or_default();
        let cost: f64 = roots.iter().map(|r| prices.group(&rules.groups[r])).sum();
        let mut least = vec![0.0];
        for id in &nodes {
            least.push(least[least.len() - 1] + prices.least_work(*id));
        }
        let hand_off = prices.hand_off();
        // Another choice than a single group has two at least.
        if nodes.len() < 2 || least[nodes.len()] + 2.0 * hand_off >= cost {
            continue;
        }
        search.searched += 1;
        let mut branches = Branches {
            prices,
            nodes: &nodes,
            least,
            best: cost,
            found: BTreeSet::new(),
            visits: 0,
        };
        let start = given.partitioner();
        branches.descend(nodes.len(), start, (0.0, 0), &mut BTreeSet::new());
        search.visits += branches.visits;
        search.limited += usize::from(branches.visits >= VISITS);
        all.extend(branches.found);
    }
    all
}

/// The nodes with kernels, by which of them could ever be in one; each in the order of the graph.
fn regions(given: &Given<'_>) -> Vec<Vec<NodeId>> {
    let graph = given.graph;
    let mut sets: UnionFind<u32> = UnionFind::new(graph.nodes.len());
    for stream in given.streams.values() {
        let first = stream
            .members
            .first()
            .expect("invariant: a chain has nodes");
        for id in &stream.members {
            sets.union(first.0, id.0);
        }
    }
    for id in graph.node_ids() {
        let consumers = consumers(given, id);
        if let Some(consumers) = consumers {
            consumers.iter().for_each(|c| {
                sets.union(id.0, c.0);
            });
        }
    }
    let mut regions: BTreeMap<u32, Vec<NodeId>> = BTreeMap::new();
    let streamed = |id: &NodeId| given.streams.values().any(|s| s.members.contains(id));
    for id in graph.node_ids() {
        let view = matches!(graph.node(id).op.lower, Lower::View | Lower::Plan);
        if !view || streamed(&id) {
            regions.entry(sets.find(id.0)).or_default().push(id);
        }
    }
    regions.into_values().collect()
}

/// The consumers of a node, if it could join all of them.
pub fn consumers(given: &Given<'_>, id: NodeId) -> Option<Vec<NodeId>> {
    let graph = given.graph;
    let node = graph.node(id);
    let results = || node.outputs.iter().map(|v| v.0 as usize);
    let own = results().any(|v| given.is_output[v]);
    if own || node.op.class == Class::Opaque || !matches!(node.op.lower, Lower::Pointwise(_)) {
        return None;
    }
    let moves = moves_into_sums(graph, &given.uses, node);
    let consumers: Vec<NodeId> = results().flat_map(|v| given.uses[v].clone()).collect();
    let joins = |c: &NodeId| {
        let reader = graph.node(*c);
        let streamed = || given.streams.values().any(|s| s.members.contains(c));
        match reader.op.lower {
            Lower::View | Lower::Plan => streamed(),
            _ => match reader.op.class {
                Class::Opaque | Class::Control => false,
                Class::Contraction => moves || widens_for_windows(graph, &given.uses, node),
                _ => true,
            },
        }
    };
    consumers.iter().all(joins).then_some(consumers)
}

/// A search in a region.
struct Branches<'a> {
    prices: &'a Prices<'a>,
    nodes: &'a [NodeId],
    /// Units: cycles that so many first nodes take at least.
    least: Vec<f64>,
    best: f64,
    found: BTreeSet<NodeId>,
    visits: usize,
}

impl Branches<'_> {
    /// Visits the first `left` nodes from the last one on, and what may be chosen for each;
    /// `spent` are the cycles of the work of the nodes before and the number of groups.
    fn descend(
        &mut self,
        mut left: usize,
        mut state: Partitioner<'_>,
        (mut spent, mut groups): (f64, usize),
        apart: &mut BTreeSet<NodeId>,
    ) {
        while left > 0 {
            if self.visits >= VISITS || self.is_dear(left, spent, groups) {
                return;
            }
            self.visits += 1;
            left -= 1;
            let id = self.nodes[left];
            match state.visit(id) {
                Visit::Nothing => spent += self.prices.least_work(id),
                Visit::InPlace => state.found_in_place(id),
                Visit::Stream => {
                    state.found_stream(id);
                    spent += self.prices.least_work(id);
                    groups += 1;
                }
                Visit::Found(_) => {
                    state.found(id);
                    spent += self.prices.least_work(id);
                    groups += 1;
                }
                Visit::Join(root, place) => {
                    let alone = spent + self.prices.least_work(id);
                    let fork = state.clone();
                    spent += self.prices.work(id, place.0.total());
                    state.join(id, root, *place);
                    self.descend(left, state, (spent, groups), apart);
                    if self.is_dear(left, alone, groups + 1) {
                        return;
                    }
                    apart.insert(id);
                    let mut state = fork;
                    state.found(id);
                    self.descend(left, state, (alone, groups + 1), apart);
                    apart.remove(&id);
                    return;
                }
            }
        }
        let drafts = state.drafts.values();
        let cost: f64 = drafts.map(|d| self.prices.draft(d)).sum();
        if cost < self.best * (1.0 - EVEN) {
            self.best = cost;
            self.found = apart.clone();
        }
    }

    /// Whether no rest makes this as cheap as the best.
    fn is_dear(&self, left: usize, spent: f64, groups: usize) -> bool {
        let hand_offs = groups as f64 * self.prices.hand_off();
        spent + self.least[left] + hand_offs >= self.best * (1.0 - EVEN)
    }
}

/// The offers of which no two need one group and which gain most together.
pub fn best_offers(offers: &[Offer]) -> BTreeSet<usize> {
    let roots: Vec<BTreeSet<NodeId>> = offers.iter().map(Offer::roots).collect();
    let mut sets: UnionFind<usize> = UnionFind::new(offers.len());
    let excludes = |a: usize, b: usize| !roots[a].is_disjoint(&roots[b]);
    for a in 0..offers.len() {
        for b in (0..a).filter(|b| excludes(a, *b)) {
            sets.union(a, b);
        }
    }
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for k in 0..offers.len() {
        parts.entry(sets.find(k)).or_default().push(k);
    }
    let mut chosen = BTreeSet::new();
    for part in parts.values() {
        let mut best: Vec<usize> = Vec::new();
        for k in part {
            if best.iter().all(|other| !excludes(*k, *other)) {
                best.push(*k);
            }
        }
        if part.len() <= OFFERS {
            let gain = |set: &[usize]| set.iter().map(|k| offers[*k].gain).sum::<f64>();
            let mut most = gain(&best);
            let mut todo: Vec<(usize, Vec<usize>)> = vec![(0, vec![])];
            while let Some((at, set)) = todo.pop() {
                let rest: f64 = part[at..].iter().map(|k| offers[*k].gain).sum();
                if gain(&set) > most * (1.0 + 1e-9) {
                    (most, best) = (gain(&set), set.clone());
                }
                if at == part.len() || gain(&set) + rest <= most * (1.0 + 1e-9) {
                    continue;
                }
                todo.push((at + 1, set.clone()));
                if set.iter().all(|other| !excludes(part[at], *other)) {
                    todo.push((at + 1, [&set[..], &[part[at]]].concat()));
                }
            }
        }
        chosen.extend(best);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Strips;
    use tensmith_ir::define::Tiled;
    use tensmith_ir::graph::ValueId;
    use tensmith_ir::ops::Sampler;

    fn offer(s: &mut Sampler) -> Offer {
        let root = NodeId(s.int(0, 9) as u32);
        Offer {
            root,
            others: vec![NodeId((root.0 + s.int(1, 3) as u32) % 12)],
            strips: Strips::Tiles(Tiled {
                tiles: ValueId(0),
                products: ValueId(0),
                tile: 2,
                rows: 1,
            }),
            gain: s.int(1, 100) as f64,
        }
    }

    /// The most that any set of offers gains.
    fn most(offers: &[Offer]) -> f64 {
        let sets = 0..1usize << offers.len();
        let gain = |bits: usize| {
            let (mut roots, mut gain) = (BTreeSet::new(), 0.0);
            for (_, offer) in offers
                .iter()
                .enumerate()
                .filter(|(k, _)| bits >> k & 1 == 1)
            {
                if !roots.is_disjoint(&offer.roots()) {
                    return 0.0;
                }
                roots.extend(offer.roots());
                gain += offer.gain;
            }
            gain
        };
        sets.map(gain).fold(0.0, f64::max)
    }

    #[test]
    fn the_best_offers_are_those_that_trying_all_finds() {
        let mut s = Sampler::new(1);
        for _ in 0..300 {
            let count = s.int(0, 9);
            let offers: Vec<Offer> = (0..count).map(|_| offer(&mut s)).collect();
            let chosen = best_offers(&offers);
            let gain: f64 = chosen.iter().map(|k| offers[*k].gain).sum();
            let needed: Vec<NodeId> = chosen.iter().flat_map(|k| offers[*k].roots()).collect();
            let different: BTreeSet<NodeId> = needed.iter().copied().collect();
            assert_eq!(needed.len(), different.len());
            assert!((gain - most(&offers)).abs() < 1e-9, "{offers:?}");
        }
    }
}

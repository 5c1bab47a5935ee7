//! What tuning says of a partition, and what it may say.
//!
//! The cost model is exact to some percent, so where two partitions are predicted to take much the
//! same, measuring decides: whether a node has a kernel of its own, whether groups hand on values
//! in strips, and whether parts of a concatenation are written where it lies. What was said comes
//! before what is predicted, within the rules: where they do not allow it, it is nothing.
use super::choose::{consumers, made};
use super::inside::joins;
use super::offers::Offer;
use super::price::Prices;
use super::streams::find_streams;
use super::{Given, Group, Partition, Strips, image_rows, tiles};
use crate::choice::{Choice, note, text};
use crate::pipeline::PassOptions;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tensmith_ir::graph::{Graph, NodeId};

/// A kind of choice: the name of its parameter, and the options of it.
type Kind = (&'static str, [&'static str; 2]);
/// Whether a node has a kernel of its own though it could be part of another.
const KERNEL: Kind = ("kernel", ["inside", "own"]);
/// Whether groups are one that hands on values in strips.
const STRIPS: Kind = ("strips", ["without", "with"]);
/// Whether the parts of a concatenation are written where it lies.
const PARTS: Kind = ("parts", ["copied", "in-place"]);

/// What tuning says, or what is asked in its place.
pub struct Said<'o> {
    options: &'o PassOptions,
    /// What was looked up before.
    heard: RefCell<HashMap<String, Option<bool>>>,
}

impl<'o> Said<'o> {
    /// What was found for compilations with these options.
    pub fn new(options: &'o PassOptions) -> Self {
        Said {
            options,
            heard: RefCell::default(),
        }
    }

    /// The options of the compilation.
    pub fn options(&self) -> &'o PassOptions {
        self.options
    }

    /// The same, but for one choice.
    fn but(&self, about: &str, is_second: bool) -> Said<'o> {
        let mut heard = self.heard.borrow().clone();
        heard.insert(about.into(), Some(is_second));
        Said {
            options: self.options,
            heard: heard.into(),
        }
    }

    /// Whether the second option was said, or the first.
    fn of(&self, (name, options): Kind, about: impl FnOnce() -> String) -> Option<bool> {
        if self.options.tuned.is_none() && self.heard.borrow().is_empty() {
            return None;
        }
        let about = about();
        if let Some(known) = self.heard.borrow().get(&about) {
            return *known;
        }
        let said = self.options.said_of_two(&about, name, options);
        self.heard.borrow_mut().insert(about, said);
        said
    }

    /// The nodes that begin kernels of their own, where these would without anything said.
    pub fn apart(&self, given: &Given<'_>, mut apart: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        for id in given.graph.node_ids() {
            match self.of(KERNEL, || about_kernel(given, id)) {
                Some(true) => apart.insert(id),
                Some(false) => apart.remove(&id),
                None => continue,
            };
        }
        apart
    }

    /// Leaves the chains that are not to be streamed.
    pub fn streams(&self, given: &mut Given<'_>) {
        let graph = given.graph;
        let said = |members: &BTreeSet<NodeId>| self.of(STRIPS, || about_strips(graph, members));
        given.streams.retain(|_, s| said(&s.members) != Some(false));
    }

    /// The concatenations whose parts may be written where they lie, and those of which it was said.
    pub fn joins(&self, given: &Given<'_>) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let said = |id: &NodeId| self.of(PARTS, || text(given.graph, [*id]));
        let mut all = joins(given);
        all.retain(|id| said(id) != Some(false));
        let firm = all.iter().copied().filter(|id| said(id) == Some(true));
        let firm = firm.collect();
        (all, firm)
    }

    /// Leaves the offers that gain, or were said to be taken; these gain most.
    pub fn offers(&self, graph: &Graph, partition: &Partition, offers: &mut Vec<Offer>) {
        let most: f64 = offers.iter().map(|o| o.gain.abs()).sum();
        offers.retain_mut(|offer| {
            let said = self.of(STRIPS, || about_strips(graph, &members(partition, offer)));
            if said == Some(true) {
                offer.gain += 2.0 * most + 1.0;
            }
            said.unwrap_or(offer.gain > 0.0)
        });
    }
}

fn about_kernel(given: &Given<'_>, id: NodeId) -> String {
    let graph = given.graph;
    let read: BTreeSet<NodeId> = graph
        .node(id)
        .outputs
        .iter()
        .flat_map(|v| given.uses[v.0 as usize].clone())
        .collect();
    format!("{} read by {}", text(graph, [id]), text(graph, read))
}

fn about_strips(graph: &Graph, members: &BTreeSet<NodeId>) -> String {
    format!("strips of {}", text(graph, members.iter().copied()))
}

/// The nodes of the groups that an offer needs.
fn members(partition: &Partition, offer: &Offer) -> BTreeSet<NodeId> {
    let groups = offer.roots().into_iter().map(|r| &partition.groups[&r]);
    groups.flat_map(|g| g.members.iter().copied()).collect()
}

/// A partition that was chosen, to compare others with.
pub struct Chosen<'a, 'g> {
    pub given: &'a Given<'g>,
    pub said: &'a Said<'a>,
    /// The nodes that begin kernels of their own.
    pub apart: &'a BTreeSet<NodeId>,
    pub partition: &'a Partition,
}

impl Chosen<'_, '_> {
    /// What could be otherwise.
    pub fn choices(&self) -> Vec<Choice> {
        let mut found = Vec::new();
        self.kernels(&mut found);
        self.strips(&mut found);
        self.streams(&mut found);
        self.parts(&mut found);
        found
    }

    /// Notes a choice of one of two, where `other` is the partition with the other one.
    fn note(
        &self,
        found: &mut Vec<Choice>,
        (name, options): Kind,
        is_second: bool,
        about: String,
        other: (&Given<'_>, &Partition),
    ) {
        let target = &self.said.options.target;
        let differ = |a: &Partition, b: &Partition| -> Vec<Group> {
            let groups = a
                .groups
                .iter()
                .filter(|(root, g)| b.groups.get(root) != Some(g));
            groups.map(|(_, g)| g.clone()).collect()
        };
        let cost = |given: &Given<'_>, groups: &[Group]| -> f64 {
            let prices = Prices::new(given, target);
            groups.iter().map(|g| prices.group(g)).sum()
        };
        let (own, others) = (
            differ(self.partition, other.1),
            differ(other.1, self.partition),
        );
        let (now, then) = (cost(self.given, &own), cost(other.0, &others));
        if own.is_empty() || now <= 0.0 {
            return;
        }
        let members: BTreeSet<NodeId> =
            own.iter().flat_map(|g| g.members.iter().copied()).collect();
        let nodes = members
            .iter()
            .map(|id| self.given.graph.node(*id).name.clone());
        let choice = Choice::of_two(
            about,
            name,
            options,
            (is_second, then / now),
            nodes.collect(),
        );
        note(found, choice);
    }

    /// The partition where something else is said of one choice.
    fn but(&self, about: &str, is_second: bool, given: &Given<'_>) -> Partition {
        let said = self.said.but(about, is_second);
        made(
            given,
            &said,
            &said.apart(given, self.apart.clone()),
            self.partition.search,
        )
    }

    /// Nodes that are part of other kernels, or could be; not concatenations, whose parts may be
    /// asked about.
    fn kernels(&self, found: &mut Vec<Choice>) {
        let inside = |id: NodeId| {
            let of = |g: &&Group| g.root != id && g.strips.is_none() && g.members.contains(&id);
            self.partition.groups.values().any(|g| of(&g))
        };
        let (mut seen, joins) = (BTreeMap::new(), joins(self.given));
        let others = self.given.graph.node_ids().filter(|id| !joins.contains(id));
        for id in others {
            let is_apart = self.apart.contains(&id);
            if (is_apart || inside(id)) && consumers(self.given, id).is_some() {
                seen.entry(about_kernel(self.given, id)).or_insert(is_apart);
            }
        }
        for (about, is_apart) in seen {
            let other = self.but(&about, !is_apart, self.given);
            self.note(found, KERNEL, is_apart, about, (self.given, &other));
        }
    }

    /// Groups that hand on values in strips, or could.
    fn strips(&self, found: &mut Vec<Choice>) {
        let graph = self.given.graph;
        let taken = self
            .partition
            .groups
            .values()
            .filter(|g| matches!(g.strips, Some(Strips::Tiles(_) | Strips::ImageRows(_))));
        let all = |g: &Group| -> BTreeSet<NodeId> { g.members.iter().copied().collect() };
        let mut seen: BTreeMap<String, bool> = taken
            .map(|g| (about_strips(graph, &all(g)), true))
            .collect();
        for offer in offers(self.given, self.partition, self.said.options) {
            seen.entry(about_strips(graph, &members(self.partition, &offer)))
                .or_insert(false);
        }
        for (about, is_taken) in seen {
            let other = self.but(&about, !is_taken, self.given);
            self.note(found, STRIPS, is_taken, about, (self.given, &other));
        }
    }

    /// Chains of attention.
    fn streams(&self, found: &mut Vec<Choice>) {
        let (graph, given) = (self.given.graph, self.given);
        let all = find_streams(graph, &given.uses, &given.is_output);
        let mut seen = BTreeMap::new();
        for (root, stream) in &all {
            let is_taken = given.streams.contains_key(root);
            seen.entry(about_strips(graph, &stream.members))
                .or_insert(is_taken);
        }
        for (about, is_taken) in seen {
            let mut other = given.clone();
            other.streams = all.clone();
            self.said.but(&about, !is_taken).streams(&mut other);
            let partition = self.but(&about, !is_taken, &other);
            self.note(found, STRIPS, is_taken, about, (&other, &partition));
        }
    }

    /// Concatenations.
    fn parts(&self, found: &mut Vec<Choice>) {
        for id in joins(self.given) {
            let about = text(self.given.graph, [id]);
            let is_taken = self.given.joins.contains(&id);
            let mut other = self.given.clone();
            let mut joins = other.joins.clone();
            match is_taken {
                true => joins.remove(&id),
                false => joins.insert(id),
            };
            other.put_in_place(joins);
            let partition = self.but(&about, !is_taken, &other);
            self.note(found, PARTS, is_taken, about, (&other, &partition));
        }
    }
}

/// All offers of strips.
pub fn offers(given: &Given<'_>, partition: &Partition, options: &PassOptions) -> Vec<Offer> {
    let mut offers = tiles::offers(given.graph, &given.uses, partition, options);
    let rows = image_rows::offers(given.graph, &given.uses, partition, &options.target);
    offers.extend(rows);
    offers
}

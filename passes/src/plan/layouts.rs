//! Layouts of the values between kernels: channels last around convolutions.
//!
//! A convolution reads runs of channels for one position and writes runs of channels for another,
//! so its operand and its result lie with channels innermost, and so does what is computed
//! element by element, pooled or padded in between. Values that a view, a control node or the
//! model's interface sees stay row-major; a kernel between both converts as it reads and writes, or
//! copies beside it do (`alike.rs`).
//! So do values that only such kernels read of which each result needs a row of channels.
//!
//! Requires: a partition of the graph.
//! Ensures: only results of kernels change their layout.
use crate::choice::{Choice, note, text};
use crate::partition::{Group, Partition, few_channels, fixed_values, is_spatial};
use crate::pipeline::PassOptions;
use petgraph::unionfind::UnionFind;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, NodeId, ValueId};
use tensmith_ir::loops::{Layout, LayoutDim};
use tensmith_ir::ops::{Class, Spec};

/// A kind of choice: the parameter, and its options.
const LAYOUT: (&str, [&str; 2]) = ("layout", ["row-major", "channels-last"]);

/// What kernels over row-major values take over those with channels innermost where either fill
/// their vectors, about: windows and borders cut runs of positions, but not those of channels.
const ROW_MAJOR: f64 = 2.0;

/// How much fuller vectors are where the operands of small groups lie by positions: their terms lie far
/// apart then.
const FULLER: f64 = 1.5;

/// Runs of so many positions are no better than channels.
const NARROW: i64 = 8;

/// Results at most of a convolution without groups that are so few.
const FEW: i64 = 4;

/// Elements from a position to the next at most that are picked out of vectors of positions.
const NEAR: i64 = 2;

/// Channels at least for each result of a group that lanes run along.
const TERMS_OF_RESULT: i64 = 8;

/// The values that are not row-major; `told` gets what tuning may choose otherwise.
pub fn choose_layouts(
    graph: &Graph,
    partition: &Partition,
    options: &PassOptions,
    told: &mut Vec<Choice>,
) -> HashMap<ValueId, Layout> {
    let groups: Vec<&Group> = (graph.node_ids())
        .filter_map(|id| partition.groups.get(&id))
        .collect();
    let mut last = channels_last_values(graph, &groups, options.target.lanes());
    if options.spaces || options.tuned.is_some() {
        for region in regions(graph, &groups, &last) {
            let convolutions: BTreeSet<String> = (region.convolutions.iter())
                .map(|id| text(graph, [*id]))
                .collect();
            let convolutions: Vec<String> = convolutions.into_iter().collect();
            let about = format!("values around {}", convolutions.join("; "));
            let said = options.said_of_two(&about, LAYOUT.0, LAYOUT.1);
            if said == Some(false) {
                last.retain(|v| !region.values.contains(v));
            }
            if options.spaces {
                let name = |id: &NodeId| graph.node(*id).name.clone();
                let nodes = region.convolutions.iter().map(name).collect();
                let ratio = row_major_ratio(graph, &region, options.target.lanes());
                let (is_last, ratio) = match said {
                    Some(false) => (false, 1.0 / ratio),
                    _ => (true, ratio),
                };
                let choice = Choice::of_two(about, LAYOUT.0, LAYOUT.1, (is_last, ratio), nodes);
                note(told, choice);
            }
        }
    }
    let layout = |v: ValueId| (v, channels_last(graph.ty(v).rank()));
    last.into_iter().map(layout).collect()
}

/// What the convolutions of a region are predicted to take over row-major values, over what they
/// take with channels innermost: as vectors are filled by runs of positions and of channels.
fn row_major_ratio(graph: &Graph, region: &Region, lanes: i64) -> f64 {
    let filled = |n: i64| n as f64 / ((n + lanes - 1) / lanes * lanes) as f64;
    let ratios = region.convolutions.iter().filter_map(|id| {
        let shape = &graph.ty(graph.node(*id).outputs[0]).shape;
        let [channels, width] = [shape.get(1)?, shape.last()?].map(|e| e.as_const());
        let (channels, width) = (channels.filter(|n| *n > 0)?, width.filter(|n| *n > 0)?);
        Some(ROW_MAJOR * filled(channels) / filled(width))
    });
    let ratios: Vec<f64> = ratios.collect();
    match ratios.len() {
        0 => ROW_MAJOR,
        n => ratios.iter().sum::<f64>() / n as f64,
    }
}

/// Values whose layouts follow from each other, and the convolutions that they are chosen for.
#[derive(Default)]
struct Region {
    values: HashSet<ValueId>,
    convolutions: BTreeSet<NodeId>,
}

/// The regions of values with channels innermost.
fn regions(graph: &Graph, groups: &[&Group], last: &HashSet<ValueId>) -> Vec<Region> {
    let mut sets: UnionFind<u32> = UnionFind::new(graph.values.len());
    let touched =
        |g: &Group| -> Vec<ValueId> { crossing(graph, g).filter(|v| last.contains(v)).collect() };
    for group in groups {
        for pair in touched(group).windows(2) {
            sets.union(pair[0].0, pair[1].0);
        }
    }
    let mut regions: BTreeMap<u32, Region> = BTreeMap::new();
    for v in last {
        let region = regions.entry(sets.find(v.0)).or_default();
        region.values.insert(*v);
    }
    for group in groups {
        if let (Some(id), [v, ..]) = (convolution(graph, group), &touched(group)[..]) {
            let region = regions.entry(sets.find(v.0)).or_default();
            region.convolutions.insert(id);
        }
    }
    regions.into_values().collect()
}

/// The values that lie with channels innermost.
fn channels_last_values(graph: &Graph, groups: &[&Group], lanes: i64) -> HashSet<ValueId> {
    let mut fixed = fixed_values(graph);
    fixed.extend(of_rows(graph, groups, &fixed));
    fixed.extend(of_small_groups(graph, groups, lanes));
    fixed.extend(of_batches(graph, groups));
    fixed.extend(of_columns(graph, groups));
    fixed.extend(of_narrow_rows(graph, groups, lanes));
    let free = |v: &ValueId| {
        !fixed.contains(v) && graph.producer(*v).is_some() && is_spatial(graph.ty(*v))
    };
    let mut last: HashSet<ValueId> = HashSet::new();
    for group in groups {
        if let Some(id) = convolution(graph, group)
            && !(has_groups(graph, id) && has_small_groups(graph, id, lanes))
        {
            let few = few_channels(graph.ty(graph.node(id).inputs[0]));
            let kept = |v: &ValueId| free(v) && !(few && few_channels(graph.ty(*v)));
            let beside = Aligned::of(graph, group);
            let ends = |id: NodeId| [graph.node(id).inputs[0], graph.node(id).outputs[0]];
            let around = |v: &ValueId| {
                let mut ends = convolutions(graph, group).flat_map(ends);
                ends.any(|end| beside.are(*v, end))
            };
            last.extend(crossing(graph, group).filter(around).filter(kept));
            last.extend(Some(graph.node(id).inputs[0]).filter(kept));
        }
    }
    loop {
        let before = last.len();
        for group in groups {
            if convolution(graph, group).is_some() {
                continue;
            }
            let (values, beside): (Vec<ValueId>, _) =
                (crossing(graph, group).collect(), Aligned::of(graph, group));
            let touched = values.iter().copied().filter(|v| last.contains(v));
            let touched: Vec<ValueId> = touched.collect();
            let follows = |v: &ValueId| touched.iter().any(|t| beside.are(*t, *v));
            let many = values.into_iter().filter(|v| !few_channels(graph.ty(*v)));
            last.extend(many.filter(follows).filter(free));
        }
        if last.len() == before {
            return last;
        }
    }
}

/// Values that are only read where rows of channels, such as those of a softmax, make a row-major
/// result: with channels innermost, each row would be written by elements that lie far apart.
fn of_rows(graph: &Graph, groups: &[&Group], fixed: &HashSet<ValueId>) -> Vec<ValueId> {
    let along_channels = |g: &&&Group| {
        let root = graph.node(g.root);
        let rank = graph.ty(root.outputs[0]).rank();
        root.outputs.iter().all(|v| fixed.contains(v))
            && g.members.iter().any(|id| {
                let node = graph.node(*id);
                let axes = node.op.row_axes.map(|axes| axes(&node.attrs, rank));
                node.op.class == Class::Row && axes == Some(vec![1])
            })
    };
    let (rows, others): (Vec<&&Group>, Vec<&&Group>) = groups.iter().partition(along_channels);
    let elsewhere: HashSet<ValueId> = others.iter().flat_map(|g| reads(graph, g)).collect();
    let read = rows.iter().flat_map(|g| reads(graph, g));
    read.filter(|v| !elsewhere.contains(v)).collect()
}

/// Values around products one for each channel, such as those of the heads of attention: with channels
/// innermost, no lanes would run along rows or columns of any of them.
fn of_batches(graph: &Graph, groups: &[&Group]) -> Vec<ValueId> {
    let mut found = Vec::new();
    // Between transforms, a product is one for each element of a tile.
    let products = groups.iter().filter(|g| convolution(graph, g).is_none());
    for group in products {
        for node in group.members.iter().map(|id| graph.node(*id)) {
            if node.op.name != "contract" {
                continue;
            }
            let spec = Spec::of(&node.attrs);
            let lists = [&spec.a, &spec.b, &spec.out];
            let by_channel = |list: &[u8]| {
                let channel = list.get(1);
                channel.is_some_and(|c| lists.iter().all(|l| l.contains(c)))
            };
            let operands = node.inputs.iter().zip([&spec.a, &spec.b]);
            found.extend(
                operands
                    .filter(|(_, list)| by_channel(list))
                    .map(|(v, _)| *v),
            );
            if by_channel(&spec.out) {
                found.extend(crossing(graph, group));
            }
        }
    }
    found
}

/// Values that only products read as columns along positions, whose terms are channels, such as the
/// keys of attention: with channels innermost, columns would lie apart.
fn of_columns(graph: &Graph, groups: &[&Group]) -> Vec<ValueId> {
    let (mut columns, mut others) = (HashSet::new(), HashSet::new());
    let nodes = groups.iter().flat_map(|g| &g.members);
    for node in nodes.map(|id| graph.node(*id)) {
        let spec = (node.op.name == "contract").then(|| Spec::of(&node.attrs));
        for (k, v) in node.inputs.iter().enumerate() {
            let along = spec.as_ref().is_some_and(|spec| {
                let list = if k == 0 { &spec.a } else { &spec.b };
                let summed = list.get(1).is_some_and(|c| !spec.out.contains(c));
                summed && list.len() > 2 && list.last() == spec.out.last()
            });
            match along {
                true => columns.insert(*v),
                false => others.insert(*v),
            };
        }
    }
    columns.difference(&others).copied().collect()
}

/// Whether a convolution has groups, or is one, of so few results that runs of positions, which lie
/// side by side in its operand, fill vectors better than the results of a group for one position.
fn has_small_groups(graph: &Graph, id: NodeId, lanes: i64) -> bool {
    let node = graph.node(id);
    if node.op.name != "conv" {
        return false;
    }
    // Where positions are not side by side, each vector is picked out of several.
    let step = match node.attrs.ints("strides").last() {
        Some(1) => 1.0,
        Some(step @ 2..=NEAR) if has_groups(graph, id) => *step as f64,
        _ => return false,
    };
    let [weights, shape] =
        [node.inputs[1], node.outputs[0]].map(|v| graph.ty(v).shape.iter().map(Expr::as_const));
    let (weights, shape): (Vec<_>, Vec<_>) = (weights.collect(), shape.collect());
    let (Some([Some(results), Some(channels), ..]), Some(Some(width))) =
        (weights.get(..2), shape.last())
    else {
        return false;
    };
    let filled = |n: i64, lanes: i64| n as f64 / ((n + lanes - 1) / lanes * lanes).max(1) as f64;
    let count = node.attrs.int("groups").max(1);
    let of_group = results / count;
    // Lanes may run along the terms instead.
    let terms = of_group * TERMS_OF_RESULT <= *channels;
    let fuller = step * FULLER * filled(of_group, lanes) < filled(*width, lanes);
    // One result of each group, and the groups are lanes.
    let alone = step > 1.0 && of_group == 1;
    let fits = *width > NARROW && fuller && !alone;
    (has_groups(graph, id) || of_group <= FEW) && *channels > 1 && !terms && fits
}

fn has_groups(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    node.op.name == "conv" && node.attrs.int("groups") > 1
}

/// Padded values that only such convolutions read.
fn of_small_groups(graph: &Graph, groups: &[&Group], lanes: i64) -> Vec<ValueId> {
    let small =
        |g: &&&Group| convolution(graph, g).is_some_and(|id| has_small_groups(graph, id, lanes));
    let (small, others): (Vec<&&Group>, Vec<&&Group>) = groups.iter().partition(small);
    let elsewhere: HashSet<ValueId> = others.iter().flat_map(|g| reads(graph, g)).collect();
    let padded = |v: &ValueId| {
        graph
            .producer(*v)
            .is_some_and(|p| graph.node(p).op.name == "pad")
    };
    let read = small.iter().flat_map(|g| reads(graph, g));
    read.filter(|v| padded(v) && !elsewhere.contains(v))
        .collect()
}

/// Values of rows along positions, of fewer channels than lanes: with channels innermost, lanes would
/// run along these few.
fn of_narrow_rows(graph: &Graph, groups: &[&Group], lanes: i64) -> Vec<ValueId> {
    let narrow = |g: &&&Group| {
        g.members.iter().any(|id| {
            let node = graph.node(*id);
            let ty = graph.ty(node.outputs[0]);
            let axes = node.op.row_axes.map(|axes| axes(&node.attrs, ty.rank()));
            let few = ty
                .shape
                .get(1)
                .and_then(Expr::as_const)
                .is_some_and(|n| n < lanes);
            node.op.class == Class::Row && few && axes.is_some_and(|a| !a.contains(&1))
        })
    };
    let groups = groups.iter().filter(narrow);
    groups.flat_map(|g| crossing(graph, g)).collect()
}

/// Which values of a group have the same axes at the same places: what a transpose or a product is
/// between has not.
struct Aligned(UnionFind<u32>);

impl Aligned {
    fn of(graph: &Graph, group: &Group) -> Self {
        let mut sets = UnionFind::new(graph.values.len());
        for node in group.members.iter().map(|id| graph.node(*id)) {
            if matches!(node.op.name, "transpose" | "contract") {
                continue;
            }
            // Weights lie as suits them: they are packed where the image lies otherwise.
            let operands = match node.op.name {
                "conv" => &node.inputs[..1],
                _ => &node.inputs[..],
            };
            let values = || operands.iter().chain(&node.outputs);
            for (a, b) in values().zip(values().skip(1)) {
                sets.union(a.0, b.0);
            }
        }
        Aligned(sets)
    }

    fn are(&self, a: ValueId, b: ValueId) -> bool {
        self.0.equiv(a.0, b.0)
    }
}

/// The values that a group reads from others.
fn reads<'g>(graph: &'g Graph, group: &'g Group) -> impl Iterator<Item = ValueId> + 'g {
    let inside = |v: &ValueId| {
        graph
            .producer(*v)
            .is_some_and(|p| group.members.contains(&p))
    };
    let read = group.members.iter().flat_map(|id| &graph.node(*id).inputs);
    read.copied().filter(move |v| !inside(v))
}

/// The first convolution of a group.
fn convolution(graph: &Graph, group: &Group) -> Option<NodeId> {
    convolutions(graph, group).min()
}

/// The convolutions of a group, and the transforms around products that are some.
fn convolutions<'g>(graph: &'g Graph, group: &'g Group) -> impl Iterator<Item = NodeId> + 'g {
    let is = |id: &NodeId| {
        let name = graph.node(*id).op.name;
        matches!(name, "conv" | "winograd_input" | "winograd_output")
    };
    group.members.iter().copied().filter(is)
}

/// The values that a group reads from others, and those that it makes for others.
fn crossing<'g>(graph: &'g Graph, group: &'g Group) -> impl Iterator<Item = ValueId> + 'g {
    let rank = match graph.node(group.root) {
        tiles if tiles.op.name == "winograd_input" => graph.ty(tiles.inputs[0]).rank(),
        root => graph.ty(root.outputs[0]).rank(),
    };
    let made = graph.node(group.root).outputs.iter().copied();
    reads(graph, group)
        .chain(made)
        .filter(move |v| graph.ty(*v).rank() == rank)
}

/// Channels innermost.
pub(super) fn channels_last(rank: usize) -> Layout {
    let order = [0].into_iter().chain(2..rank).chain([1]);
    let dim = |dim| LayoutDim {
        dim,
        step: 1,
        extent: None,
    };
    Layout(order.map(dim).collect())
}

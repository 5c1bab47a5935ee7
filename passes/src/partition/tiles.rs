//! Which Winograd convolutions are streamed.
//!
//! Three groups, the transform of tiles, their products with weights and the transform back with
//! what follows it, become one where the values between them are too large for a near cache and
//! the weights, which every strip reads again, are not.
use super::image_rows::parts_at;
use super::offers::Offer;
use super::{Group, Partition, Strips};
use crate::cost::Pass;
use crate::pipeline::PassOptions;
use crate::schedule::Target;
use tensmith_ir::define::Tiled;
use tensmith_ir::graph::{Graph, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// Tiles of a strip at least: the rows of a register tile.
const LEAST_TILES: i64 = 12;

/// The Winograd convolutions whose tiles and products take more than the options' `stream_bytes`,
/// and whose weights take less, and what streaming them gains.
pub fn offers(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    partition: &Partition,
    options: &PassOptions,
) -> Vec<Offer> {
    let offer = |(root, group): (&NodeId, &Group)| {
        let chain = chain(graph, uses, partition, group)?;
        let size = |v: ValueId| {
            let ty = graph.ty(v);
            ty.count().as_const().map(|n| n * ty.dtype.bytes() as i64)
        };
        let [tiles, products, weights] = [chain.tiles, chain.products, chain.weights].map(size);
        let bytes = options.stream_bytes as i64;
        let fits = tiles? + products? > bytes && weights? <= bytes;
        let tiled = chain.tiled(graph);
        fits.then(|| Offer {
            root: *root,
            others: vec![chain.input, chain.contraction],
            gain: gain(graph, &tiled, &options.target),
            strips: Strips::Tiles(tiled),
        })
    };
    partition.groups.iter().filter_map(offer).collect()
}

/// The groups that a group with strips of tiles was made of, and what the strips gain.
pub fn parts_of_tiles(
    graph: &Graph,
    group: &Group,
    tiled: &Tiled,
    target: &Target,
) -> Option<(Vec<Group>, f64)> {
    let [before, output] = parts_at(graph, group, tiled.products)?;
    let [input, contraction] = parts_at(graph, &before, tiled.tiles)?;
    Some((vec![input, contraction, output], gain(graph, tiled, target)))
}

/// Units: cycles that strips save. What the kernels write for each other is neither written to nor
/// read from where all of it lies, and threads meet twice less; but weights are read again from
/// where they lie for each strip.
fn gain(graph: &Graph, tiled: &Tiled, target: &Target) -> f64 {
    let bytes = |v: ValueId| {
        let ty = graph.ty(v);
        let count = ty.count().as_const().unwrap_or(0);
        count as f64 * ty.dtype.bytes() as f64
    };
    let moved = |bytes: f64| {
        target.cost.pass_cycles(&Pass {
            elements: 0.0,
            operations: 0.0,
            lanes: target.lanes(),
            bytes,
        })
    };
    let between = [tiled.tiles, tiled.products].map(bytes);
    // Written and read.
    let far: f64 = between.iter().map(|b| 2.0 * moved(*b)).sum();
    let rows = graph.ty(tiled.tiles).shape[3].as_const().unwrap_or(1);
    let strips = ((rows + tiled.rows - 1) / tiled.rows.max(1)).max(1) as f64;
    let near: f64 = between
        .iter()
        .map(|b| 2.0 * strips * moved(b / strips))
        .sum();
    let weights = graph
        .producer(tiled.products)
        .map(|id| graph.node(id).inputs[1]);
    let again = weights.map_or(0.0, |v| (strips - 1.0) * moved(bytes(v)));
    far - near - again + 2.0 * target.cost.hand_off_cycles()
}

/// The three groups of a convolution; the last one is that of the root.
struct Chain {
    input: NodeId,
    contraction: NodeId,
    output: NodeId,
    tiles: ValueId,
    products: ValueId,
    weights: ValueId,
}

fn chain(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    partition: &Partition,
    group: &Group,
) -> Option<Chain> {
    let named = |name: &'static str| move |id: &&NodeId| graph.node(**id).op.name == name;
    let output = *group.members.iter().find(named("winograd_output"))?;
    let result = graph.ty(graph.node(output).outputs[0]);
    // What follows the transform back keeps its order of elements.
    let follows = |id: &NodeId| {
        let node = graph.node(*id);
        *id == output || node.op.class == Class::Elementwise
    };
    let alike = graph.ty(graph.node(group.root).outputs[0]).shape == result.shape;
    if group.strips.is_some() || !alike || !group.members.iter().all(follows) {
        return None;
    }
    let products = graph.node(output).inputs[0];
    let contraction = alone(graph, uses, partition, products, output)?;
    let node = graph.node(contraction);
    let [tiles, weights] = node.inputs[..] else {
        return None;
    };
    let input = alone(graph, uses, partition, tiles, contraction)?;
    let fits = node.op.name == "contract" && graph.node(input).op.name == "winograd_input";
    fits.then_some(Chain {
        input,
        contraction,
        output,
        tiles,
        products,
        weights,
    })
}

/// The root of the group that makes a value for one reader only.
fn alone(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    partition: &Partition,
    value: ValueId,
    reader: NodeId,
) -> Option<NodeId> {
    let id = graph.producer(value)?;
    let group = partition.groups.get(&id)?;
    let only = uses[value.0 as usize] == [reader] && !graph.outputs.contains(&value);
    (only && group.members.len() == 1).then_some(id)
}

impl Chain {
    /// The strips: as many rows of tiles as make a register tile.
    fn tiled(&self, graph: &Graph) -> Tiled {
        let across = graph.ty(self.tiles).shape[4].as_const().unwrap_or(1);
        Tiled {
            tiles: self.tiles,
            products: self.products,
            tile: graph.node(self.output).attrs.int("tile"),
            rows: (LEAST_TILES + across - 1) / across.max(1),
        }
    }
}

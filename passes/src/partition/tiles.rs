//! Which Winograd convolutions are streamed.
//!
//! Three groups, the transform of tiles, their products with weights and the transform back with
//! what follows it, become one where the values between them are too large for a near cache and
//! the weights, which every strip reads again, are not.
use super::{Group, Partition, Strips};
use tensmith_ir::define::Tiled;
use tensmith_ir::graph::{Graph, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// Tiles of a strip at least: the rows of a register tile.
const LEAST_TILES: i64 = 12;

/// Joins the groups of Winograd convolutions whose tiles and products take more than `bytes`, and
/// whose weights take less.
pub fn join_tiles(graph: &Graph, uses: &[Vec<NodeId>], partition: &mut Partition, bytes: usize) {
    let roots: Vec<NodeId> = partition.groups.keys().copied().collect();
    for root in roots {
        let Some(chain) = chain(graph, uses, partition, root) else {
            continue;
        };
        let size = |v: ValueId| {
            let ty = graph.ty(v);
            ty.count().as_const().map(|n| n * ty.dtype.bytes() as i64)
        };
        let [tiles, products, weights] = [chain.tiles, chain.products, chain.weights].map(size);
        let (Some(tiles), Some(products), Some(weights)) = (tiles, products, weights) else {
            continue;
        };
        if tiles + products > bytes as i64 && weights <= bytes as i64 {
            chain.join(graph, partition, root);
        }
    }
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
    root: NodeId,
) -> Option<Chain> {
    let group = &partition.groups[&root];
    let named = |name: &'static str| move |id: &&NodeId| graph.node(**id).op.name == name;
    let output = *group.members.iter().find(named("winograd_output"))?;
    let result = graph.ty(graph.node(output).outputs[0]);
    // What follows the transform back keeps its order of elements.
    let follows = |id: &NodeId| {
        let node = graph.node(*id);
        *id == output || node.op.class == Class::Elementwise
    };
    let alike = graph.ty(graph.node(root).outputs[0]).shape == result.shape;
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
    fn join(self, graph: &Graph, partition: &mut Partition, root: NodeId) {
        for id in [self.input, self.contraction] {
            partition.groups.remove(&id);
            partition.refusals.remove(&id);
        }
        let across = graph.ty(self.tiles).shape[4].as_const().unwrap_or(1);
        let tile = graph.node(self.output).attrs.int("tile");
        let strips = Strips::Tiles(Tiled {
            tiles: self.tiles,
            products: self.products,
            tile,
            rows: (LEAST_TILES + across - 1) / across.max(1),
        });
        let group: &mut Group = partition
            .groups
            .get_mut(&root)
            .expect("invariant: the root of a group");
        group.members.extend([self.input, self.contraction]);
        group.strips = Some(strips);
    }
}

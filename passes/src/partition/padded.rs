//! Which convolutions pad their image themselves, strip by strip.
//!
//! What a kernel makes is written inside of its padded value. An image that comes from elsewhere,
//! as the first one of a model does, would be copied whole; where it has few channels, so that the
//! convolution reads it as it lies, each strip of the result copies the rows that it reads.
use super::{Partition, Strips};
use tensmith_ir::define::Padded;
use tensmith_ir::graph::{AttrValue, Def, Graph, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Lower};

/// Channels of an image that is read as it lies, at most.
const CHANNELS: i64 = 4;
/// Strips that a result has at least, if it has so many rows: work for threads.
const STRIPS: i64 = 28;
/// Rows of a strip at most; the rows that two strips share are copied twice.
const ROWS: i64 = 8;
/// Units: bytes of the rows of a strip at most; half of a second cache.
const BYTES: i64 = 512 << 10;

/// Joins padding with the convolutions that alone read it, where the image is not made by a kernel.
pub fn join_padding(graph: &Graph, uses: &[Vec<NodeId>], partition: &mut Partition) {
    let roots: Vec<NodeId> = partition.groups.keys().copied().collect();
    for root in roots {
        if let Some((pad, padded)) = padded(graph, uses, partition, root) {
            partition.groups.remove(&pad);
            partition.refusals.remove(&pad);
            let group = partition.groups.get_mut(&root);
            let group = group.expect("invariant: the root of a group");
            group.members.insert(pad);
            group.strips = Some(Strips::Padded(padded));
        }
    }
}

/// The padding that joins the group of a root.
fn padded(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    partition: &Partition,
    root: NodeId,
) -> Option<(NodeId, Padded)> {
    let group = &partition.groups[&root];
    let named = |id: &&NodeId| graph.node(**id).op.name == "conv";
    let conv = graph.node(*group.members.iter().find(named)?);
    let result = graph.ty(conv.outputs[0]);
    let alike = graph.ty(graph.node(root).outputs[0]).shape == result.shape;
    let follows = |id: &NodeId| {
        let node = graph.node(*id);
        node.outputs == conv.outputs || node.op.class == Class::Elementwise
    };
    if group.strips.is_some() || !alike || !group.members.iter().all(follows) {
        return None;
    }
    let image = conv.inputs[0];
    let pad = graph.producer(image)?;
    let alone = uses[image.0 as usize].len() == 1 && !graph.outputs.contains(&image);
    let only = partition.groups.get(&pad)?.members.len() == 1;
    let fits =
        alone && only && graph.node(pad).op.name == "pad" && !is_made(graph, graph.node(pad));
    let padded = strips(graph, conv, image)?;
    fits.then_some((pad, padded))
}

/// Whether a kernel makes what a node pads.
fn is_made(graph: &Graph, pad: &Node) -> bool {
    match graph.producer(pad.inputs[0]) {
        Some(id) => !matches!(graph.node(id).op.lower, Lower::View | Lower::Plan),
        None => !matches!(graph.value(pad.inputs[0]).def, Def::Input(_)),
    }
}

/// The strips of a convolution of an image of few channels.
fn strips(graph: &Graph, conv: &Node, image: ValueId) -> Option<Padded> {
    let (from, to) = (graph.ty(image), graph.ty(conv.outputs[0]));
    let first = |name: &str| match conv.attrs.get(name) {
        Some(AttrValue::Ints(n)) => n.first().copied(),
        _ => None,
    };
    let weights = &graph.ty(conv.inputs[1]).shape;
    let taps = weights.get(2)?.as_const()?;
    let height = to.shape.get(2)?.as_const().filter(|h| *h > 0)?;
    let channels = from.shape[1].as_const()?;
    let padded = Padded {
        image,
        rows: (height / STRIPS).clamp(1, ROWS),
        stride: first("strides")?,
        window: (taps - 1) * first("dilations")? + 1,
    };
    let across = from.shape[3..].iter().map(|e| e.as_const());
    let across = across.product::<Option<i64>>()?;
    let row_bytes = (channels * from.dtype.bytes() as i64).checked_mul(across)?;
    let bytes = padded.image_rows(padded.rows).checked_mul(row_bytes)?;
    let fits = conv.attrs.int("groups") == 1 && channels <= CHANNELS && bytes <= BYTES;
    (fits && taps > 0 && from.rank() == 4).then_some(padded)
}

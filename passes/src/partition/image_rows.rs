//! Which convolutions make their image themselves, strip by strip.
//!
//! The group that makes an image and that of the convolution which alone reads it become one where
//! the cost model predicts that less time passes: the image is neither written to nor read from
//! memory, and threads meet once less; but the weights are read again for each strip, rows that two
//! strips read are made twice, and strips are fewer parts for threads than rows.
//!
//! Three kinds of groups are offered: a depthwise convolution, scalar work and movements, both
//! before windows of one element; and padding of an image of few channels that no kernel makes,
//! such as the input of a model. What a kernel makes is padded by a frame around it instead.
use super::offers::Offer;
use super::price::{COPY, TAP};
use super::rules::MEMBERS;
use super::{Group, Partition, Strips};
use crate::cost::{Contraction, Pass, Tile};
use crate::schedule::{Target, least_cycles};
use std::collections::HashSet;
use tensmith_ir::define::ImageRows;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Def, Graph, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Lower};

/// Runs of so few channels are too short to be moved as vectors; a convolution reads them one by
/// one wherever they lie.
pub const FEW_CHANNELS: i64 = 4;
/// Rows of a strip at most.
const ROWS: i64 = 16;
/// Units: bytes of the rows of a strip at most; a quarter of a second cache.
const BYTES: i64 = 256 << 10;
/// Threads that strips are predicted for, however many there are: sums keep their order, which
/// follows from how an image lies, for any number of threads.
const THREADS: i64 = 2;

/// What may be joined with the convolutions that read images, and what that gains.
pub fn offers(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    partition: &Partition,
    target: &Target,
) -> Vec<Offer> {
    let groups = partition.groups.iter();
    let offer = |(root, group): (&NodeId, &Group)| {
        let reader = Reader::of(graph, group)?;
        let (maker, rows, gain) = reader.offer(graph, uses, partition, target)?;
        Some(Offer {
            root: *root,
            others: vec![maker],
            strips: Strips::ImageRows(rows),
            gain,
        })
    };
    groups.filter_map(offer).collect()
}

/// The groups that a group with rows of an image was made of, and what the rows gain.
pub fn parts_of_rows(
    graph: &Graph,
    group: &Group,
    rows: &ImageRows,
    target: &Target,
) -> Option<(Vec<Group>, f64)> {
    let [maker, reader] = parts_at(graph, group, rows.image)?;
    let found = Reader::of(graph, &reader)?;
    let made = found.maker(graph, &maker)?;
    let gain = found.apart(&made, target) - found.together(rows, &made, target);
    Some((vec![maker, reader], gain))
}

/// A group cut at a value inside: what makes it, and the rest.
pub fn parts_at(graph: &Graph, group: &Group, value: ValueId) -> Option<[Group; 2]> {
    let root = graph.producer(value)?;
    let (mut todo, mut above) = (vec![root], HashSet::new());
    while let Some(id) = todo.pop() {
        if group.members.contains(&id) && above.insert(id) {
            let inputs = graph.node(id).inputs.iter();
            todo.extend(inputs.filter_map(|v| graph.producer(*v)));
        }
    }
    let below = group.members.difference(&above).copied().collect();
    let part = |root: NodeId, members: HashSet<NodeId>| Group {
        root,
        members,
        strips: None,
        in_place: false,
    };
    Some([part(root, above), part(group.root, below)])
}

/// A convolution that may make its image.
struct Reader<'g> {
    conv: &'g Node,
    /// Nodes of its group.
    members: usize,
    image: ValueId,
    /// Units: elements. Channels, height and width of the image and of the result.
    from: [i64; 3],
    to: [i64; 3],
    batch: i64,
    /// Taps along rows and along columns.
    window: [i64; 2],
    stride: i64,
    dilation: i64,
}

/// How an image is made: the vector operations for a vector of it, and whether channels lie side by
/// side.
struct Maker {
    operations: f64,
    channels_last: bool,
}

impl<'g> Reader<'g> {
    /// The convolution of a group of which all else follows element by element.
    fn of(graph: &'g Graph, group: &Group) -> Option<Self> {
        if group.strips.is_some() || group.in_place {
            return None;
        }
        let convs = group.members.iter().map(|id| graph.node(*id));
        let conv = convs.clone().find(|n| n.op.name == "conv")?;
        let result = graph.ty(conv.outputs[0]);
        let mut others = convs.filter(|n| n.outputs != conv.outputs);
        let alike = graph.ty(graph.node(group.root).outputs[0]).shape == result.shape;
        let follows = others.all(|n| n.op.class == Class::Elementwise);
        let ungrouped = conv.attrs.int("groups") == 1 && result.dtype == DType::F32;
        if !alike || !follows || !ungrouped {
            return None;
        }
        let extents = |v: ValueId| -> Option<[i64; 3]> {
            let [_, rest @ ..] = &graph.ty(v).shape[..] else {
                return None;
            };
            let rest = rest.iter().map(|e| e.as_const().filter(|n| *n > 0));
            rest.collect::<Option<Vec<_>>>()?.try_into().ok()
        };
        let [_, rows, columns] = extents(conv.inputs[1])?;
        let image = conv.inputs[0];
        Some(Reader {
            conv,
            members: group.members.len(),
            image,
            from: extents(image)?,
            to: extents(conv.outputs[0])?,
            // The choice does not depend on a batch that is not known.
            batch: result.shape[0].as_const().unwrap_or(1).max(1),
            window: [rows, columns],
            stride: conv.attrs.ints("strides")[0],
            dilation: conv.attrs.ints("dilations")[0],
        })
    }

    /// The root of the group that makes the image, the strips, and the cycles that they gain.
    fn offer(
        &self,
        graph: &Graph,
        uses: &[Vec<NodeId>],
        partition: &Partition,
        target: &Target,
    ) -> Option<(NodeId, ImageRows, f64)> {
        let root = graph.producer(self.image)?;
        let group = partition.groups.get(&root)?;
        let alone = uses[self.image.0 as usize].len() == 1 && !graph.outputs.contains(&self.image);
        let small = group.members.len() + self.members <= MEMBERS;
        if !alone || !small || group.strips.is_some() || group.in_place {
            return None;
        }
        let maker = self.maker(graph, group)?;
        let strips = (1..=ROWS.min(self.to[1])).filter_map(|rows| self.strips(rows, &maker));
        let timed = strips.map(|s| (self.together(&s, &maker, target), s));
        let (cycles, best) = timed.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some((root, best, self.apart(&maker, target) - cycles))
    }

    /// How a group makes the image, if it is of a kind that is offered.
    fn maker(&self, graph: &Graph, group: &Group) -> Option<Maker> {
        let nodes: Vec<&Node> = group.members.iter().map(|id| graph.node(*id)).collect();
        if let [pad] = nodes[..]
            && pad.op.name == "pad"
        {
            let few = self.from[0] < FEW_CHANNELS && !is_made(graph, pad.inputs[0]);
            return few.then_some(Maker {
                operations: COPY,
                channels_last: false,
            });
        }
        let conv = nodes.iter().find(|n| n.op.name == "conv");
        let taps = conv.map_or(Some(0), |n| self.depthwise_taps(graph, n))?;
        let scalar = nodes.iter().all(|n| {
            let moves = n.op.class == Class::Movement && n.op.name != "pad";
            conv.is_some_and(|c| c.outputs == n.outputs)
                || n.op.class == Class::Elementwise
                || moves && conv.is_none()
        });
        let once = self.window == [1, 1] && self.conv.attrs.ints("strides") == [1, 1];
        (scalar && once && self.from[0] >= FEW_CHANNELS).then_some(Maker {
            operations: COPY + TAP * taps as f64 + nodes.len() as f64,
            channels_last: true,
        })
    }

    /// The taps of a depthwise convolution that makes the image, but for what follows it.
    fn depthwise_taps(&self, graph: &Graph, conv: &Node) -> Option<i64> {
        let weights = &graph.ty(conv.inputs[1]).shape;
        let taps = weights[2..].iter().map(|e| e.as_const());
        let fits = conv.attrs.int("groups") == self.from[0]
            && graph.ty(conv.inputs[0]).shape[1].is(self.from[0])
            && graph.ty(conv.outputs[0]).shape == graph.ty(self.image).shape;
        taps.product::<Option<i64>>().filter(|_| fits)
    }

    /// Strips of so many rows of the result, if scratch memory holds them.
    fn strips(&self, rows: i64, maker: &Maker) -> Option<ImageRows> {
        let strips = ImageRows {
            image: self.image,
            rows,
            stride: self.stride,
            window: (self.window[0] - 1) * self.dilation + 1,
            channels_last: maker.channels_last,
        };
        let row = self.from[0].checked_mul(self.from[2])?.checked_mul(4)?;
        let bytes = strips.of_image(rows).checked_mul(row)?;
        (bytes <= BYTES).then_some(strips)
    }

    /// Units: cycles of both groups as kernels of their own.
    fn apart(&self, maker: &Maker, target: &Target) -> f64 {
        let [channels, height, width] = self.from;
        let image = channels * height * width * self.batch;
        self.make(image, maker, target)
            + self.convolve(self.to[1], self.batch, target)
            + target.cost.hand_off_cycles()
    }

    /// Units: cycles of both groups as one kernel, times the threads that wait for the last strip.
    fn together(&self, strips: &ImageRows, maker: &Maker, target: &Target) -> f64 {
        let number = (self.to[1] + strips.rows - 1) / strips.rows * self.batch;
        let rows = strips.of_image(strips.rows);
        let image = self.from[0] * rows * self.from[2];
        let each = self.make(image, maker, target) + self.convolve(strips.rows, 1, target);
        let rounds = (number + THREADS - 1) / THREADS;
        each * (rounds * THREADS) as f64
    }

    fn make(&self, elements: i64, maker: &Maker, target: &Target) -> f64 {
        target.cost.pass_cycles(&Pass {
            elements: elements as f64,
            operations: maker.operations,
            lanes: target.lanes(),
            bytes: 4.0 * elements as f64,
        })
    }

    /// Units: cycles of so many rows of so many results.
    fn convolve(&self, rows: i64, batch: i64, target: &Target) -> f64 {
        let [channels, _, width] = self.from;
        let [results, _, positions] = self.to;
        let taps = self.window[0] * self.window[1];
        let (row, outer) = match taps {
            // Positions of one element are one axis.
            1 => (rows * positions, batch),
            _ => (positions, rows * batch),
        };
        let bytes = 4 * channels * width * rows * self.stride * batch;
        least_cycles(
            target,
            &Contraction {
                tile: Tile {
                    rows: 1,
                    vectors: 1,
                    lanes: target.lanes(),
                },
                masks: target.masks(),
                rows: Some(row),
                outer,
                batch: 1,
                columns: results,
                column_loads: 1.0,
                depth: Some(channels * taps),
                turned: false,
                rows_bytes: Some(bytes as f64),
                source: None,
            },
        )
    }
}

/// Whether a kernel makes a value.
fn is_made(graph: &Graph, value: ValueId) -> bool {
    match graph.producer(value) {
        Some(id) => !matches!(graph.node(id).op.lower, Lower::View | Lower::Plan),
        None => !matches!(graph.value(value).def, Def::Input(_)),
    }
}

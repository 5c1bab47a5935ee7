//! Which algorithm computes each convolution: direct, or Winograd's minimal filtering of tiles of
//! 2x2 or 4x4 results.
//!
//! The cost model compares the algorithms as they would run: a contraction over register tiles,
//! its weights read from where the weights of the whole model lie with those that it adds, and the
//! transforms as passes over memory. Transformed weights are larger; where constants are bounded, the layers that gain
//! most for a byte come first. Of the faster algorithms those are chosen whose errors are
//! admissible for the actual weights.
use super::conv_error::{Refusal, Seen, admit};
use super::conv_moments::Weights;
use crate::choice::{Choice, note};
use crate::cost::{Contraction, Pass, Tile};
use crate::pipeline::{Decisions, PassOptions};
use crate::schedule::least_cycles;
use crate::schedule::parameters::Parameter;
use crate::split::constant_values;
use std::collections::HashMap;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Def, Graph, Node, ValueId};
use tensmith_ir::machine::Level;

/// The parameter that says which algorithm computes a convolution.
const ALGORITHM: &str = "algorithm";
/// Fewer channels are not worth the transforms.
const CHANNELS: i64 = 16;
/// Extents of tiles of results.
const TILES: [i64; 2] = [4, 2];
/// Vector operations for a vector of transformed elements: two small matrix products whose
/// elements are mostly zeros and ones, a load and a store.
const TRANSFORM: f64 = 6.0;
/// Units: bytes of an element.
const ELEMENT: i64 = 4;

/// The extents of a 3x3 convolution.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub batch: i64,
    pub channels: i64,
    pub results: i64,
    /// Of the result.
    pub extents: [i64; 2],
    /// The steps between taps. Places in such steps are an image that is convolved without gaps, for
    /// each place where they may start.
    pub steps: [i64; 2],
    /// Of the image.
    pub image: [i64; 2],
    pub before: [i64; 2],
    /// The taps that see the elements at the corners of the image.
    corners: Vec<Seen>,
}

/// An algorithm for a layer besides the direct one.
#[derive(Clone)]
struct Candidate {
    result: ValueId,
    layer: Layer,
    tile: i64,
    /// Units: cycles less than the direct algorithm takes.
    gain: f64,
    /// Units: bytes of weights more.
    growth: u64,
    /// The largest error to be expected, as a part of the largest result.
    error: f64,
    /// The part of the model's tolerance of errors that it takes.
    share: f64,
}

/// Which algorithm computes a convolution, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Algorithm {
    /// The name of the node.
    pub node: String,
    /// The extent of tiles of results of minimal filtering; 1 for the direct algorithm.
    pub tile: i64,
    /// The largest error that minimal filtering is expected to make on noise, as a part of the
    /// largest result; 0 for the direct algorithm.
    pub error: f64,
    /// The algorithm, its expected error, and why a faster one was not admitted.
    pub text: String,
}

/// The convolutions, by their results, that are computed by minimal filtering, with the extents
/// of tiles of results. `told` gets what was decided for each one that could be.
pub(super) fn choose(
    graph: &Graph,
    options: &PassOptions,
    told: &mut Decisions,
) -> HashMap<ValueId, (Layer, i64)> {
    let constant = constant_values(graph);
    let known = |v: ValueId| constant[v.0 as usize];
    let bytes = constant_bytes(graph);
    let source = |more: u64| options.target.cost.weights_level((bytes + more) as f64);
    let mut weights = Weights::new(graph);
    let (mut candidates, mut decisions) = (Vec::new(), Vec::new());
    for node in &graph.nodes {
        if let Some(layer) = Layer::of(graph, node, &known) {
            let about = about(graph, node);
            let said = options.said(&about, ALGORITHM);
            let said = said.and_then(|text| tile_named(&text));
            let all = layer.candidates(node.outputs[0], &source, options);
            let direct = layer.direct(source(0), options);
            let cycles: Vec<(i64, f64)> = all.iter().map(|c| (c.tile, direct - c.gain)).collect();
            let tried = wanted(all, said, options.spaces);
            let tolerance = options.precision.tolerance();
            let (admitted, refused) = admitted(tried, &mut weights, node.inputs[1], tolerance);
            let is_admitted = |tile: i64| admitted.iter().any(|c| c.tile == tile);
            let others = cycles.into_iter().filter(|o| is_admitted(o.0));
            decisions.push(Decision {
                node,
                about,
                options: [(1, direct)].into_iter().chain(others).collect(),
                refused,
            });
            let faster = admitted.into_iter().filter(|c| c.gain > 0.0);
            candidates.extend(faster);
        }
    }
    let room = options
        .constant_bytes
        .map(|most| most.saturating_sub(bytes));
    let mut chosen = Chosen {
        room: room.unwrap_or(u64::MAX),
        tolerance: 1.0,
        layers: HashMap::new(),
    };
    // What gains most for a byte comes first, then larger gains take what room is left.
    let worth = |c: &Candidate| c.gain / c.growth.max(1) as f64;
    candidates.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    for candidate in &candidates {
        // What finds no room now is offered again.
        let _ = chosen.offer(candidate);
    }
    candidates.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    for candidate in &candidates {
        let of = |d: &&mut Decision<'_>| d.node.outputs[0] == candidate.result;
        if let (Err(why), Some(d)) = (chosen.offer(candidate), decisions.iter_mut().find(of)) {
            d.refused.push((candidate.tile, why));
        }
    }
    for decision in &decisions {
        told.algorithms.push(decision.algorithm(&chosen));
        if options.spaces && decision.options.len() > 1 {
            note(&mut told.choices, decision.choice(&chosen));
        }
    }
    let layers = chosen.layers.into_iter();
    layers
        .map(|(result, c)| (result, (c.layer, c.tile)))
        .collect()
}

/// What a convolution is, for all that have the same algorithms.
fn about(graph: &Graph, node: &Node) -> String {
    let [x, w] = [0, 1].map(|k| graph.ty(node.inputs[k]));
    format!("convolution {x} {w} {}", node.attrs)
}

/// The name of an algorithm by the extent of its tiles.
fn name(tile: i64) -> String {
    match tile {
        1 => "direct".into(),
        m => format!("winograd-{m}"),
    }
}

fn tile_named(text: &str) -> Option<i64> {
    let tiles = [1].into_iter().chain(TILES);
    tiles.into_iter().find(|m| name(*m) == text)
}

/// The candidates to look at: those that are faster; `all` if it is asked which there are. Of those
/// none but the one that was said is taken as faster.
fn wanted(mut candidates: Vec<Candidate>, said: Option<i64>, all: bool) -> Vec<Candidate> {
    for c in &mut candidates {
        c.gain = match said {
            Some(tile) if c.tile == tile => c.gain.max(1.0),
            Some(_) => c.gain.min(0.0),
            None => c.gain,
        };
    }
    candidates.retain(|c| all || c.gain > 0.0);
    candidates
}

/// The candidates for a layer whose errors are admissible for its weights, and the tiles of
/// others.
fn admitted(
    candidates: Vec<Candidate>,
    weights: &mut Weights<'_>,
    value: ValueId,
    tolerance: f64,
) -> (Vec<Candidate>, Vec<(i64, Refusal)>) {
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    if candidates.is_empty() {
        return (admitted, refused);
    }
    let moments = weights.moments(value);
    for mut candidate in candidates {
        let found = moments.as_ref().ok_or(Refusal::Unknown);
        let (tile, corners) = (candidate.tile as usize, &candidate.layer.corners);
        match found.and_then(|m| admit(m, tile, corners, tolerance)) {
            Ok(errors) => {
                candidate.error = errors.noise;
                candidate.share = errors.share(tolerance);
                admitted.push(candidate);
            }
            Err(why) => refused.push((candidate.tile, why)),
        }
    }
    (admitted, refused)
}

/// What is known of the choice for a layer.
struct Decision<'g> {
    node: &'g Node,
    about: String,
    /// Tiles of algorithms that are admitted, with the cycles of the whole convolution; the direct
    /// one first.
    options: Vec<(i64, f64)>,
    /// Tiles of faster algorithms that were refused.
    refused: Vec<(i64, Refusal)>,
}

impl Decision<'_> {
    /// What was chosen, among what.
    fn choice(&self, chosen: &Chosen) -> Choice {
        let options = self.options.iter();
        let taken = chosen.layers.get(&self.node.outputs[0]);
        let taken = taken.map_or(1, |c| c.tile);
        let at = options.clone().position(|o| o.0 == taken).unwrap_or(0);
        let now = self.options[at].1;
        Choice {
            about: self.about.clone(),
            parameter: Parameter {
                name: ALGORITHM.into(),
                options: options.clone().map(|o| name(o.0)).collect(),
                default: at,
                chosen: at,
            },
            ratios: options.map(|o| o.1 / now).collect(),
            nodes: vec![self.node.name.clone()],
        }
    }

    fn algorithm(&self, chosen: &Chosen) -> Algorithm {
        let chosen = chosen.layers.get(&self.node.outputs[0]);
        let mut text = match chosen {
            Some(c) => format!(
                "winograd {0}x{0}, errors of {1:.1e} of the largest result expected",
                c.tile, c.error
            ),
            None if self.refused.is_empty() => "direct, which is the fastest".to_string(),
            None => "direct".to_string(),
        };
        for (tile, why) in &self.refused {
            text.push_str(&format!("; not winograd {tile}x{tile}: {why}"));
        }
        Algorithm {
            node: self.node.name.clone(),
            tile: chosen.map_or(1, |c| c.tile),
            error: chosen.map_or(0.0, |c| c.error),
            text,
        }
    }
}

/// Algorithms chosen so far.
struct Chosen {
    /// Units: bytes of constants that may be added.
    room: u64,
    /// The part of the tolerance of errors that is left, in squares.
    tolerance: f64,
    layers: HashMap<ValueId, Candidate>,
}

impl Chosen {
    /// Takes a candidate that gains more than what was chosen for its layer, if there is room.
    ///
    /// Errors: there is none.
    fn offer(&mut self, candidate: &Candidate) -> Result<(), Refusal> {
        let before = self.layers.get(&candidate.result);
        let (gain, growth, share) = before.map_or((0.0, 0, 0.0), |c| (c.gain, c.growth, c.share));
        if candidate.gain <= gain {
            return Ok(());
        }
        let more = candidate.growth.saturating_sub(growth);
        if more > self.room {
            return Err(Refusal::Constants);
        }
        if candidate.share - share > self.tolerance {
            return Err(Refusal::Shared);
        }
        self.room = self.room - more + growth.saturating_sub(candidate.growth);
        self.tolerance -= candidate.share - share;
        self.layers.insert(candidate.result, candidate.clone());
        Ok(())
    }
}

/// Units: bytes of all constants of a graph.
fn constant_bytes(graph: &Graph) -> u64 {
    let bytes = graph.values.iter().map(|v| match &v.def {
        Def::Constant(t) => t.data.len() as u64,
        _ => 0,
    });
    bytes.sum()
}

impl Layer {
    fn of(graph: &Graph, node: &Node, known: &dyn Fn(ValueId) -> bool) -> Option<Layer> {
        if node.op.name != "conv" || !known(node.inputs[1]) {
            return None;
        }
        let (x, w) = (graph.ty(node.inputs[0]), graph.ty(node.inputs[1]));
        let y = graph.ty(node.outputs[0]);
        let ones = |name: &str| node.attrs.ints(name).iter().all(|v| *v == 1);
        let plain = ones("strides") && node.attrs.int("groups") == 1;
        let taps: Option<Vec<i64>> = w.shape.iter().map(|e| e.as_const()).collect();
        let taps: [i64; 4] = taps?.try_into().ok()?;
        let ([results, channels, 3, 3], true, DType::F32) = (taps, plain, x.dtype) else {
            return None;
        };
        let extents = [y.shape[2].as_const()?, y.shape[3].as_const()?];
        let image = [x.shape[2].as_const()?, x.shape[3].as_const()?];
        let pair = |name: &str| <[i64; 2]>::try_from(node.attrs.ints(name)).ok();
        let (steps, before) = (pair("dilations")?, pair("pads_before")?);
        let layer = Layer {
            // The choice does not depend on a batch that is not known.
            batch: x.shape[0].as_const().unwrap_or(1),
            channels,
            results,
            extents,
            steps,
            image,
            before,
            corners: corners((image, extents), before, steps),
        };
        let extents = [layer.batch, layer.extents[0], layer.extents[1]];
        let many = channels >= CHANNELS && results >= CHANNELS;
        (many && extents.iter().all(|e| *e > 0)).then_some(layer)
    }

    /// The algorithms besides the direct one; `source` says where weights lie if there are so many
    /// bytes more of them.
    fn candidates(
        &self,
        result: ValueId,
        source: &dyn Fn(u64) -> Level,
        options: &PassOptions,
    ) -> Vec<Candidate> {
        let direct = self.direct(source(0), options);
        let weights = self.channels.saturating_mul(self.results) as u64;
        let candidate = |tile: i64| {
            let taps = ((tile + 2) * (tile + 2) - 9) as u64;
            let growth = weights.saturating_mul(taps * ELEMENT as u64);
            Candidate {
                result,
                layer: self.clone(),
                tile,
                gain: direct - self.filtered(tile, source(growth), options),
                growth,
                error: 0.0,
                share: 0.0,
            }
        };
        TILES.into_iter().map(candidate).collect()
    }

    /// Units: cycles of the direct algorithm.
    fn direct(&self, source: Level, options: &PassOptions) -> f64 {
        let [height, width] = self.extents;
        let work = Contraction {
            rows: Some(width),
            outer: self.batch.saturating_mul(height),
            depth: Some(self.channels.saturating_mul(9)),
            ..self.contraction(source, options)
        };
        least_cycles(&options.target, &work) * self.hits()
    }

    /// The part of the terms of taps with steps between them that meet the image: others are skipped.
    fn hits(&self) -> f64 {
        let along = |d: usize| {
            let hits = |tap: i64| {
                let first = tap * self.steps[d] - self.before[d];
                let end = (first + self.extents[d]).min(self.image[d]);
                (end - first.max(0)).max(0)
            };
            (0..3).map(hits).sum::<i64>() as f64 / (3 * self.extents[d].max(1)) as f64
        };
        match self.steps {
            [1, 1] => 1.0,
            _ => along(0) * along(1),
        }
    }

    /// The extents of the results of an image of places in steps.
    pub fn places(&self) -> [i64; 2] {
        std::array::from_fn(|d| (self.extents[d] + self.steps[d] - 1) / self.steps[d])
    }

    /// As many images as there are, each of places in steps.
    fn images(&self) -> i64 {
        let starts = self.steps[0].saturating_mul(self.steps[1]);
        self.batch.saturating_mul(starts)
    }

    /// Units: cycles of putting places in steps side by side, and back.
    fn moves(&self, options: &PassOptions) -> f64 {
        if self.steps == [1, 1] {
            return 0.0;
        }
        let places = (self.batch * self.extents[0] * self.extents[1]) as f64;
        let elements = places * (self.channels + self.results) as f64;
        options.target.cost.pass_cycles(&Pass {
            elements,
            operations: TRANSFORM,
            lanes: options.target.lanes(),
            bytes: 2.0 * ELEMENT as f64 * elements,
        })
    }

    /// Units: cycles of minimal filtering with tiles of `m` times `m` results.
    fn filtered(&self, m: i64, source: Level, options: &PassOptions) -> f64 {
        let [height, width] = self.places().map(|e| (e + m - 1) / m);
        let taps = (m + 2) * (m + 2);
        let work = Contraction {
            rows: Some(width),
            outer: self.images().saturating_mul(height),
            batch: taps,
            depth: Some(self.channels),
            ..self.contraction(source, options)
        };
        let plain = (self.batch * self.extents[0] * self.extents[1]) as f64;
        let spread = (self.images() * height * width * taps) as f64;
        let transform = |channels: i64| {
            let elements = spread * channels as f64;
            let bytes = (ELEMENT as f64) * (elements + plain * channels as f64);
            options.target.cost.pass_cycles(&Pass {
                elements,
                operations: TRANSFORM,
                lanes: options.target.lanes(),
                bytes,
            })
        };
        let transforms = transform(self.channels) + transform(self.results);
        least_cycles(&options.target, &work) + transforms + self.moves(options)
    }

    /// What both algorithms share.
    fn contraction(&self, source: Level, options: &PassOptions) -> Contraction {
        Contraction {
            tile: Tile {
                rows: 1,
                vectors: 1,
                lanes: options.target.lanes(),
            },
            masks: options.target.masks(),
            rows: None,
            outer: 1,
            batch: 1,
            columns: self.results,
            column_loads: 1.0,
            depth: None,
            turned: false,
            rows_bytes: None,
            source: Some(source),
        }
    }
}

/// The taps, with steps between them, that see each corner of an image.
fn corners((image, extents): ([i64; 2], [i64; 2]), before: [i64; 2], steps: [i64; 2]) -> Vec<Seen> {
    let sees =
        |d: usize, at: i64, tap: i64| (0..extents[d]).contains(&(at + before[d] - tap * steps[d]));
    let ends = |d: usize| [0, image[d] - 1];
    let at = |h: i64, w: i64| -> Seen {
        std::array::from_fn(|k| sees(0, h, k as i64 / 3) && sees(1, w, k as i64 % 3))
    };
    let places = ends(0).into_iter().flat_map(|h| ends(1).map(|w| at(h, w)));
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> PassOptions {
        let mut options = PassOptions::default();
        options.target.vector_bytes = 32;
        options
    }

    fn layer(channels: i64, extent: i64) -> Layer {
        Layer {
            batch: 1,
            channels,
            results: channels,
            extents: [extent, extent],
            steps: [1, 1],
            image: [extent, extent],
            before: [1, 1],
            corners: vec![],
        }
    }

    fn best(layer: &Layer, source: &dyn Fn(u64) -> Level) -> Option<i64> {
        let found = layer.candidates(ValueId(0), source, &options());
        let best = found
            .iter()
            .filter(|c| c.gain > 0.0)
            .max_by(|a, b| a.gain.total_cmp(&b.gain));
        best.map(|c| c.tile)
    }

    #[test]
    fn large_images_are_filtered_and_few_positions_are_not() {
        assert_eq!(best(&layer(64, 56), &|_| Level::L2), Some(4));
        assert_eq!(best(&layer(512, 1), &|_| Level::Memory), None);
    }

    #[test]
    fn weights_from_memory_ask_for_smaller_tiles() {
        let gains = |source| {
            let found = layer(512, 7).candidates(ValueId(0), &|_| source, &options());
            let of = |tile| {
                found
                    .iter()
                    .find(|c| c.tile == tile)
                    .map_or(0.0, |c| c.gain)
            };
            (of(4), of(2))
        };
        let (near, far) = (gains(Level::L2), gains(Level::Memory));
        assert!(near.0 > near.1, "{near:?}");
        assert!(far.0 < far.1, "{far:?}");
    }

    #[test]
    fn weights_that_leave_a_cache_are_read_from_where_they_lie() {
        let layer = layer(512, 7);
        assert_eq!(best(&layer, &|_| Level::L3), Some(4));
        // Those of small tiles stay.
        let most = 16 << 20;
        let leaves = |more| match more > most {
            true => Level::Memory,
            false => Level::L3,
        };
        assert_eq!(best(&layer, &leaves), Some(2));
    }
}

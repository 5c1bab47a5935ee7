//! Algorithms and layouts: what is chosen for a place in a model besides the terms of the e-graph.
//!
//! Each is chosen by the cost model, or taken wherever the structure is there; this says which
//! there are, what stands against each, and how often each was taken in a model.
use crate::graph::egraph::Rounding;
use crate::graph::{Algorithm, is_depthwise};
use crate::partition::{Partition, Strips};
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Graph, Node};
use tensmith_ir::loops::{Kernel, Layout};
use tensmith_ir::plan::{Place, Plan, Slot};

/// What is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How something is computed.
    Algorithm,
    /// Where elements lie.
    Layout,
}

impl Kind {
    /// A word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Algorithm => "algorithm",
            Kind::Layout => "layout",
        }
    }
}

/// An algorithm or a layout.
pub struct Alternative {
    /// The name.
    pub name: &'static str,
    /// Which of both it is.
    pub kind: Kind,
    /// What it may do to rounding.
    pub rounding: Rounding,
    /// What it is.
    pub text: &'static str,
    /// What it is chosen against.
    pub against: &'static str,
    count: fn(&Compiled<'_>) -> Count,
}

/// How often an alternative was possible and taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Places where it was possible.
    pub places: usize,
    /// Those where it was taken.
    pub taken: usize,
}

/// A model on its way to machine code.
pub struct Compiled<'a> {
    /// The optimised graph.
    pub graph: &'a Graph,
    /// Its partition.
    pub partition: &'a Partition,
    /// Its plan.
    pub plan: &'a Plan,
    /// What was decided for convolutions that have several algorithms.
    pub algorithms: &'a [Algorithm],
}

impl Alternative {
    /// How often it was possible and taken in a model, without its subgraphs.
    pub fn count(&self, compiled: &Compiled<'_>) -> Count {
        (self.count)(compiled)
    }
}

/// All of them.
pub const ALL: [Alternative; 13] = [
    Alternative {
        name: "direct-convolution",
        kind: Kind::Algorithm,
        rounding: Rounding::Reassociates,
        text: "(conv ?x ?w) as register tiles over windows",
        against: "winograd-2x2, winograd-4x4",
        count: |c| {
            let taken = c.nodes(&|n| n.op.name == "conv" && n.attrs.int("groups") == 1);
            Count {
                places: taken + c.nodes(&|n| n.op.name == "winograd_output"),
                taken,
            }
        },
    },
    Alternative {
        name: "winograd-2x2",
        kind: Kind::Algorithm,
        rounding: Rounding::Reassociates,
        text: "(conv ?x ?w) of 3x3 taps as minimal filtering F(2x2, 3x3)",
        against: "direct-convolution, winograd-4x4",
        count: |c| c.winograd(2),
    },
    Alternative {
        name: "winograd-4x4",
        kind: Kind::Algorithm,
        rounding: Rounding::Reassociates,
        text: "(conv ?x ?w) of 3x3 taps as minimal filtering F(4x4, 3x3)",
        against: "direct-convolution, winograd-2x2",
        count: |c| c.winograd(4),
    },
    Alternative {
        name: "streamed-winograd",
        kind: Kind::Algorithm,
        rounding: Rounding::Exact,
        text: "transforms and products of a strip of tile rows in scratch memory",
        against: "three kernels, with all tiles in memory",
        count: |c| Count {
            places: c.nodes(&|n| n.op.name == "winograd_output"),
            taken: c.strips(&|s| matches!(s, Strips::Tiles(_))),
        },
    },
    Alternative {
        name: "image-rows",
        kind: Kind::Algorithm,
        rounding: Rounding::Exact,
        text: "a convolution that makes the rows of its image in scratch memory",
        against: "two kernels, with the image in memory",
        count: |c| Count {
            places: c.nodes(&|n| n.op.name == "conv" && n.attrs.int("groups") == 1),
            taken: c.strips(&|s| matches!(s, Strips::ImageRows(_))),
        },
    },
    Alternative {
        name: "depthwise-convolution",
        kind: Kind::Algorithm,
        rounding: Rounding::Exact,
        text: "(conv ?x ?w) of as many groups as channels, with channels in the lanes",
        against: "direct-convolution of each group",
        count: |c| c.wherever(&|c, n| is_depthwise(c.graph, n)),
    },
    Alternative {
        name: "streamed-attention",
        kind: Kind::Algorithm,
        rounding: Rounding::Exact,
        text: "(contract (softmax (contract ?q ?k)) ?v) in strips of queries",
        against: "three kernels, with all scores in memory",
        count: |c| Count {
            places: c.nodes(&|n| matches!(n.op.name, "softmax")),
            taken: c.strips(&|s| matches!(s, Strips::Scores(_))),
        },
    },
    Alternative {
        name: "packed-product",
        kind: Kind::Algorithm,
        rounding: Rounding::Reassociates,
        text: "(contract ?x w) in register tiles over panels of w, packed once",
        against: "w as it lies in the model",
        count: |c| c.products(),
    },
    Alternative {
        name: "byte-product",
        kind: Kind::Algorithm,
        rounding: Rounding::Exact,
        text: "(contract ?x ?y) or (conv ?x ?y) of 8-bit integers by dot products of four",
        against: "products of integers in lanes of 32 bits",
        count: |c| c.wherever(&|c, n| is_byte_product(c.graph, n)),
    },
    Alternative {
        name: "channels-last",
        kind: Kind::Layout,
        rounding: Rounding::Exact,
        text: "values with channels innermost",
        against: "row-major",
        count: |c| c.values(&|s| is_spatial(s), &is_channels_last),
    },
    Alternative {
        name: "row-major",
        kind: Kind::Layout,
        rounding: Rounding::Exact,
        text: "values in the order of their indices",
        against: "channels-last",
        count: |c| c.values(&|_| true, &|s| s.layout.is_row_major()),
    },
    Alternative {
        name: "blocked-constant",
        kind: Kind::Layout,
        rounding: Rounding::Exact,
        text: "constants in blocks of the columns of a register tile",
        against: "row-major",
        count: |c| {
            let constants = || c.plan.slots.iter().filter(|s| is_constant(s));
            Count {
                places: constants().count(),
                taken: constants().filter(|s| is_blocked(&s.layout)).count(),
            }
        },
    },
    Alternative {
        name: "parts-in-place",
        kind: Kind::Layout,
        rounding: Rounding::Exact,
        text: "(concat ?x ?y) as the place that ?x and ?y are written to",
        against: "a copy, or the kernel that reads the result",
        count: |c| Count {
            places: c.nodes(&|n| n.op.name == "concat"),
            taken: c.partition.search.in_place,
        },
    },
];

impl Compiled<'_> {
    fn nodes(&self, is: &dyn Fn(&Node) -> bool) -> usize {
        self.graph.nodes.iter().filter(|n| is(n)).count()
    }

    /// What is taken wherever it is possible.
    fn wherever(&self, is: &dyn Fn(&Self, &Node) -> bool) -> Count {
        let taken = self.nodes(&|n| is(self, n));
        Count {
            places: taken,
            taken,
        }
    }

    fn winograd(&self, tile: i64) -> Count {
        Count {
            places: self.algorithms.len(),
            taken: self.algorithms.iter().filter(|a| a.tile == tile).count(),
        }
    }

    fn strips(&self, is: &dyn Fn(&Strips) -> bool) -> usize {
        let groups = self.partition.groups.values();
        groups.filter(|g| g.strips.as_ref().is_some_and(is)).count()
    }

    /// Calls that multiply by a constant, and those that have it packed.
    fn products(&self) -> Count {
        let mut count = Count::default();
        for call in self.plan.calls() {
            let multiplies = names(self.plan.kernel(call.kernel), "contract");
            let slots = call.args.iter().map(|s| self.plan.slot(*s));
            let weights = slots.filter(|s| is_constant(s) && s.shape.len() > 1);
            let weights: Vec<&Slot> = weights.collect();
            if multiplies && !weights.is_empty() {
                count.places += 1;
                count.taken += usize::from(weights.iter().any(|s| is_blocked(&s.layout)));
            }
        }
        count
    }

    /// The values of the arena for which it is possible, and those for which it was taken.
    fn values(&self, possible: &dyn Fn(&Slot) -> bool, taken: &dyn Fn(&Slot) -> bool) -> Count {
        let in_arena = |s: &&Slot| matches!(s.place, Place::Arena(_)) && possible(s);
        let values = || self.plan.slots.iter().filter(in_arena);
        Count {
            places: values().count(),
            taken: values().filter(|s| taken(s)).count(),
        }
    }
}

/// Whether a kernel is made of an op, among others.
fn names(kernel: &Kernel, op: &str) -> bool {
    kernel.name.split('_').any(|word| word == op)
}

fn is_byte_product(graph: &Graph, node: &Node) -> bool {
    let bytes = |k: usize| matches!(graph.ty(node.inputs[k]).dtype, DType::I8 | DType::U8);
    matches!(node.op.name, "contract" | "conv") && bytes(0) && bytes(1)
}

fn is_constant(slot: &Slot) -> bool {
    matches!(slot.place, Place::Constant(_))
}

fn is_spatial(slot: &Slot) -> bool {
    (3..=5).contains(&slot.shape.len())
}

fn is_channels_last(slot: &Slot) -> bool {
    let last = slot.layout.0.last();
    slot.layout.0.len() == slot.shape.len() && last.is_some_and(|d| d.dim == 1)
}

fn is_blocked(layout: &Layout) -> bool {
    layout.0.iter().any(|d| d.extent.is_some())
}

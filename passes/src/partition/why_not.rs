//! Why a node is not computed inside of the kernel of its consumers.
use tensmith_ir::graph::NodeId;

/// Why a node begins a kernel of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// A result is a result of the graph.
    IsOutput,
    /// Nothing reads the results.
    Unused,
    /// The op is a kernel of its own.
    Opaque,
    /// A consumer (a view, control flow, an opaque kernel) reads the result from memory.
    ReadInMemory(NodeId),
    /// Consumers are in several kernels.
    SeveralGroups,
    /// It would be computed inside of the inner loop of a contraction.
    InContraction,
    /// The kernel has a contraction or a reduction already.
    SecondHeavy,
    /// It would be computed at other indices than the kernel's results.
    NotAtResultIndex,
    /// It belongs to the kernel of the contraction that it follows.
    EpilogueOf(NodeId),
    /// It would be computed so many times for each element.
    Repeated(u32),
    /// Its rows are too long, of no static extent, or lie apart without enough others beside them.
    Rows,
    /// Rows would be read by elements that lie apart in memory.
    Turned,
    /// Each term of a sum would be looked up at an index that is data.
    LookedUp,
    /// The kernel's code would have so many copies of it.
    Copied(u32),
    /// The kernel has as many nodes as it may.
    Full,
    /// It is predicted to take less time as a kernel of its own.
    Dearer,
    /// It is a concatenation whose parts are written where its result lies.
    InPlace,
    /// It is written inside of the result of a concatenation.
    PartOf(NodeId),
    /// Its result is read by a streamed chain, for which it would be computed again for each head.
    Streamed,
}

//! Why a node is not computed inside of the kernel of its consumers.
use std::fmt;
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
    /// Its rows are not trailing axes of static extent that are short enough.
    Rows,
    /// The kernel's code would have so many copies of it.
    Copied(u32),
    /// The kernel has as many nodes as it may.
    Full,
    /// Its result is read by a streamed chain, for which it would be computed again for each head.
    Streamed,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNot::IsOutput => f.write_str("a result is a result of the graph"),
            WhyNot::Unused => f.write_str("nothing reads the results"),
            WhyNot::Opaque => f.write_str("the op is a kernel of its own"),
            WhyNot::ReadInMemory(n) => write!(f, "node {} reads the result from memory", n.0),
            WhyNot::SeveralGroups => f.write_str("consumers are in several kernels"),
            WhyNot::InContraction => {
                f.write_str("it would be computed in the inner loop of a contraction")
            }
            WhyNot::SecondHeavy => {
                f.write_str("the kernel has a contraction or other rows already")
            }
            WhyNot::NotAtResultIndex => {
                f.write_str("it would be computed at other indices than the kernel's results")
            }
            WhyNot::EpilogueOf(n) => write!(f, "it belongs to the kernel of node {}", n.0),
            WhyNot::Repeated(n) => write!(f, "it would be computed {n} times an element"),
            WhyNot::Rows => f.write_str("its rows are not short static trailing axes"),
            WhyNot::Copied(n) => write!(f, "the kernel would have {n} copies of it"),
            WhyNot::Streamed => f.write_str("a streamed chain would compute it for each head"),
            WhyNot::Full => f.write_str("the kernel has as many nodes as it may"),
        }
    }
}

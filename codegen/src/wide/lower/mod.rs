//! Lock-step nests of the loop IR to wide leaf functions.
//!
//! A tile is a loop of a kernel, with all that is inside it, as one function of a block of
//! arguments. What the tile does not compute itself, addresses of the first elements and values of
//! index expressions outside its loops, its caller puts into that block. Inside, every scalar is
//! evaluated once for each combination of the lock-step lanes on which it depends: in vectors,
//! whose last one is masked where the lanes do not fill it; what all lanes of a vector share is a
//! vector of equal elements. Registers of the kernel are SSA values, carried through loops as
//! block parameters.
//!
//! The order of operations is that of the kernel, so results are those of the interpreter, bit by
//! bit. Whatever a tile cannot carry is a [`WhyNot`], and the loop takes the 128-bit path.
mod address;
mod control;
mod dot;
mod find;
mod index;
mod join;
mod neighbours;
mod ops;
mod pending;
mod registers;
mod scalar;
mod shorts;
mod spread;
mod stmt;
mod turn;

pub(crate) use find::{Found, FoundTile, find_tiles};

use self::address::Access;
use super::WideError;
use super::vir::{Block, Function, FunctionBuilder, Value, Width};
use crate::kernel::lanes::{self, RegisterLanes, Sums};
use std::collections::HashMap;
use std::rc::Rc;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, For, Kernel};

/// Words at the front of the argument block that a tile may write: room for one vector.
pub const SCRATCH_WORDS: usize = 8;

/// One word of the argument block, after the first [`SCRATCH_WORDS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TileArg {
    /// The address of an element of a buffer in memory, by its offset in elements.
    Address(BufferId, Expr),
    /// The value of an index expression.
    Value(Expr),
    /// A 32-bit register of the kernel that the tile reads, in the low half.
    Register(BufferId),
    /// The first iteration of the kernel's parallel loop that the call runs.
    Begin,
    /// The iteration after the last that the call runs.
    End,
}

/// A lowered loop.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The function.
    pub function: Function,
    /// What its caller computes.
    pub args: Vec<TileArg>,
    /// Registers whose words hold new values when the tile returns.
    pub results: Vec<BufferId>,
}

/// Why a loop is not a wide tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WhyNot {
    /// An element type that no vector holds, or an operation on one that none computes with.
    #[error("elements of {0}")]
    Type(DType),
    /// A statement.
    #[error("a statement that depends on data")]
    Statement,
    /// An operation without a wide form.
    #[error("the operation {0}")]
    Operation(&'static str),
    /// A quotient in an index by what is no constant, or of numbers too great.
    #[error("an index with a quotient that needs a division")]
    Index,
    /// An address out of reach of a 32-bit displacement.
    #[error("elements too far apart")]
    Distance,
    /// A branch that depends on the lane.
    #[error("a condition that depends on the lane of a vector")]
    LaneCondition,
    /// A register of several values that is also used outside the loop.
    #[error("a register of lanes that is also used outside")]
    Escapes,
    /// The lanes of a vector are joined.
    #[error("a reduction over lanes by an operation without a wide form")]
    Horizontal,
    /// Two loops have one variable.
    #[error("a variable of several loops")]
    Variable,
    /// The target lacks an instruction.
    #[error("an instruction that the target lacks")]
    Feature,
}

/// Why there is no tile: the loop, or a defect.
#[derive(Debug)]
pub(crate) enum LowerError {
    Unsupported(WhyNot),
    Defect(WideError),
}

impl From<WhyNot> for LowerError {
    fn from(why: WhyNot) -> Self {
        LowerError::Unsupported(why)
    }
}

/// Lowers a loop of a kernel; `ranges` bind the sizes and the variables of the loops around it, and
/// `dots` says whether vectors have dot products of bytes.
///
/// Errors: what the tile cannot carry, or a defect of this module.
pub(crate) fn lower_tile(
    kernel: &Kernel,
    nest: &For,
    ranges: &Ranges,
    (width, dots): (Width, bool),
) -> Result<Tile, LowerError> {
    let register_lanes = lanes::analyse(kernel);
    let shared = registers::shared(kernel, nest, &register_lanes)?;
    let entry = Block(0);
    let mut lowering = Lowering {
        kernel,
        nest,
        ranges: ranges.clone(),
        dots,
        register_lanes,
        shared,
        lane_loops: HashMap::new(),
        b: FunctionBuilder::new(&kernel.name, width),
        args: Vec::new(),
        words: HashMap::new(),
        scopes: vec![LoopScope::new(entry, None)],
        lanes: Vec::new(),
        registers: HashMap::new(),
        accesses: HashMap::new(),
        memo: Memo::default(),
        guarded: Vec::new(),
        sums: Sums::default(),
        stored: None,
        pending: Vec::new(),
        neighbours: neighbours::Neighbours::default(),
        tails: HashMap::new(),
        masks: HashMap::new(),
        current: entry,
    };
    lowering.collect_lanes(&nest.body);
    lowering.note_lane(nest);
    lowering.take_registers();
    lowering.for_loop(nest)?;
    lowering.give_registers();
    lowering.b.ret();
    lowering.b.step_products();
    lowering.b.forward_stores();
    lowering.b.compute_again();
    lowering.b.compute_late();
    let (args, results) = (lowering.args, lowering.shared);
    let function = lowering.b.finish().map_err(LowerError::Defect)?;
    Ok(Tile {
        function,
        args,
        results,
    })
}

/// An open lock-step or unrolled loop.
#[derive(Clone, Copy, Debug)]
struct Lane {
    var: Var,
    extent: i64,
    vector: bool,
    /// The code at hand is for `value` only.
    pinned: bool,
    /// The lane, the first of a vector, that code is emitted for.
    value: i64,
}

/// An open loop of blocks.
struct LoopScope {
    /// The block where values that hold for one iteration are computed.
    block: Block,
    var: Option<(Var, Value)>,
    /// Sums `base + var * stride`; without a base, products.
    sums: HashMap<(Option<Value>, Stride), Value>,
    /// Sums of addresses and offsets.
    offsets: HashMap<(Value, Value), Value>,
    /// Values of index expressions.
    values: HashMap<Expr, Value>,
}

impl LoopScope {
    fn new(block: Block, var: Option<(Var, Value)>) -> Self {
        LoopScope {
            block,
            var,
            sums: HashMap::new(),
            offsets: HashMap::new(),
            values: HashMap::new(),
        }
    }
}

/// Bytes from one iteration to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stride {
    Const(i64),
    /// The word of the argument block that holds the elements (of `scale` bytes), times an
    /// iteration number.
    Word {
        word: usize,
        scale: i64,
    },
}

/// Values of a statement.
#[derive(Clone, Default)]
struct Memo {
    /// By the scalar and the lanes on which it depends.
    scalars: HashMap<(usize, Vec<i64>), Value>,
    /// Columns of blocks that were loaded by rows, by the access and the lanes outside of a block.
    blocks: HashMap<(usize, Vec<i64>), Vec<Value>>,
}

struct Lowering<'k> {
    kernel: &'k Kernel,
    nest: &'k For,
    ranges: Ranges,
    /// Whether vectors have dot products of bytes.
    dots: bool,
    register_lanes: RegisterLanes,
    /// Registers that the tile writes and its caller uses too.
    shared: Vec<BufferId>,
    /// Extents of all lock-step loops of the tile, and whether they are vectors.
    lane_loops: HashMap<Var, (i64, bool)>,
    b: FunctionBuilder,
    args: Vec<TileArg>,
    /// The values of argument words, loaded in the entry.
    words: HashMap<usize, Value>,
    scopes: Vec<LoopScope>,
    lanes: Vec<Lane>,
    registers: HashMap<(BufferId, Vec<i64>), Value>,
    /// Accesses by the address of their statement or scalar.
    accesses: HashMap<usize, Rc<Access>>,
    /// What is known of the statement at hand.
    memo: Memo,
    /// Variables of the conditions under which the scalar at hand is evaluated.
    /// The registers that open loops over lanes add up in.
    sums: Sums,
    guarded: Vec<Expr>,
    /// What the statement at hand stores to.
    stored: Option<BufferId>,
    /// Stores of the list of statements at hand that wait.
    pending: Vec<pending::Pending>,
    /// What that list loads.
    neighbours: neighbours::Neighbours<'k>,
    tails: HashMap<i64, Value>,
    /// Masks of lanes, by their bits.
    masks: HashMap<u32, Value>,
    current: Block,
}

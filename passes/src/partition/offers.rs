//! Offers: groups that may become one whose parts hand on values in strips.
//!
//! An offer states the groups, how the values between them are handed on, and what is gained. Two
//! offers that need one group exclude each other; [`choose`](super::choose) takes the best of them.
use super::{Group, Partition, Strips};
use std::collections::BTreeSet;
use tensmith_ir::graph::NodeId;

/// Groups that may become one.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The root of the group that ends it.
    pub root: NodeId,
    /// The roots of the groups that would join that one.
    pub others: Vec<NodeId>,
    /// How values are handed on between them.
    pub strips: Strips,
    /// Units: cycles less than those groups take as kernels of their own.
    pub gain: f64,
}

impl Offer {
    /// The groups that it needs.
    pub fn roots(&self) -> BTreeSet<NodeId> {
        self.others.iter().copied().chain([self.root]).collect()
    }

    /// Makes the groups one.
    pub fn take(self, partition: &mut Partition) {
        let mut joined = Vec::new();
        for id in &self.others {
            partition.refusals.remove(id);
            joined.extend(partition.groups.remove(id));
        }
        let group: &mut Group = partition
            .groups
            .get_mut(&self.root)
            .expect("invariant: the root of a group");
        group
            .members
            .extend(joined.into_iter().flat_map(|g| g.members));
        group.strips = Some(self.strips);
    }
}

//! What the nodes of a graph counted during a run.

use block_core::{NodeView, OpKind};
use std::collections::BTreeMap;

/// All counters of a graph, by node and name: requests that ended well by their kind (`file.write`)
/// and what drivers count themselves (`disk.queue_batches`). Those that stand at 0 are left out.
pub(crate) fn of(root: NodeView<'_>) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    add(root, &mut all);
    all
}

fn add(node: NodeView<'_>, all: &mut BTreeMap<String, u64>) {
    let requests = OpKind::ALL.map(|kind| (kind.name(), node.stats().of(kind).done()));
    let own = node.counters().into_iter().map(|counter| (counter.name, counter.value));
    for (name, value) in requests.into_iter().chain(own).filter(|(_, value)| *value > 0) {
        all.insert(format!("{}.{}", node.name(), name.replace([' ', '-'], "_")), value);
    }
    node.children().into_iter().for_each(|child| add(child, all));
}

/// What was counted since.
pub(crate) fn since(
    before: &BTreeMap<String, u64>,
    mut after: BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    for (name, value) in &mut after {
        *value = value.saturating_sub(before.get(name).copied().unwrap_or(0));
    }
    after.retain(|_, value| *value > 0);
    after
}

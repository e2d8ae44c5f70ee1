//! What a backend and its nodes have to tell: `info` and `stats`.

use crate::text::byte_size;
use block_backend::BlockBackend;
use block_core::{NodeView, OpKind};
use std::io::{self, Write};
use std::time::Duration;

/// `info`.
pub(crate) fn info(backend: &BlockBackend, out: &mut dyn Write) -> io::Result<()> {
    let limits = backend.limits();
    writeln!(out, "format name: {}", backend.root().driver_name())?;
    writeln!(out, "length: {} ({:#x} bytes)", byte_size(backend.length()), backend.length())?;
    writeln!(out, "block size: {}", limits.block_size)?;
    writeln!(out, "read-only: {}", if limits.read_only { "yes" } else { "no" })?;
    if let Some(z) = &limits.zoned {
        writeln!(out, "zoned: {}, {} zones of {}", z.model, z.nr_zones, byte_size(z.zone_size))?;
        writeln!(
            out,
            "zone limits: {} open, {} active, append {}, write granularity {}",
            limit(z.max_open_zones.into(), |n| n.to_string()),
            limit(z.max_active_zones.into(), |n| n.to_string()),
            limit(z.max_append_bytes, byte_size),
            z.write_granularity
        )?;
    }
    writeln!(out, "nodes:")?;
    each_node(backend.root(), 1, &mut |node, depth| {
        writeln!(out, "{:width$}{} ({})", "", node.name(), node.driver_name(), width = depth * 2)
    })
}

fn limit(n: u64, show: impl Fn(u64) -> String) -> String {
    if n == 0 { "unlimited".to_owned() } else { show(n) }
}

/// `stats`: who had to wait if there is a limit, and what each node counted, the kinds of request
/// that occurred.
pub(crate) fn stats(backend: &BlockBackend, out: &mut dyn Write) -> io::Result<()> {
    if let Some(now) = backend.pressure() {
        writeln!(
            out,
            "in flight: {} ({}), {} in line; {} had to wait, at most {} at once",
            now.in_flight,
            byte_size(now.in_flight_bytes),
            now.waiting,
            now.waits,
            now.longest
        )?;
    }
    each_node(backend.root(), 0, &mut |node, _| {
        writeln!(out, "{} ({})", node.name(), node.driver_name())?;
        for counter in node.counters().iter().filter(|counter| counter.value > 0) {
            writeln!(out, "  {:16} {:>10}", counter.name, counter.value)?;
        }
        for kind in OpKind::ALL {
            let ops = node.stats().of(kind);
            if ops.done() == 0 && ops.failed() == 0 && ops.abandoned() == 0 {
                continue;
            }
            write!(out, "  {:16} {:>10} done", kind.name(), ops.done())?;
            if ops.failed() > 0 {
                write!(out, ", {} failed", ops.failed())?;
            }
            if ops.abandoned() > 0 {
                write!(out, ", {} abandoned", ops.abandoned())?;
            }
            if ops.bytes() > 0 {
                write!(out, ", {}", byte_size(ops.bytes()))?;
            }
            let ns = ops.latency_ns();
            let time = Duration::from_nanos;
            writeln!(
                out,
                ", mean {:.1?}, p99 {:.1?}, max {:.1?}",
                time(ns.mean()),
                time(ns.per_mille(990)),
                time(ns.max())
            )?;
        }
        Ok(())
    })
}

/// Calls `show` for a node and all below it, with their depth.
fn each_node(
    node: NodeView<'_>,
    depth: usize,
    show: &mut dyn FnMut(NodeView<'_>, usize) -> io::Result<()>,
) -> io::Result<()> {
    show(node, depth)?;
    node.children()
        .into_iter()
        .try_for_each(|child| each_node(child, depth.saturating_add(1), show))
}

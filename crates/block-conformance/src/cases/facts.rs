//! What a node says about itself.

use crate::cx::{Cx, End};
use crate::outcome::Outcome;
use crate::pattern::{pattern, whole};
use crate::subject::OpenMode;
use block_core::stats::OpKind;
use block_core::{RequestFlags, ZoneOp};

cases!("facts":
    limits_are_possible,
    limits_never_change,
    zones_are_where_the_limits_say,
    a_node_without_zones_refuses_zone_operations,
    length_is_whole_requests,
    children_never_change,
    requests_are_counted,
    read_only_shows_in_the_limits,
);

async fn limits_are_possible(cx: Cx) -> Outcome {
    let limits = *cx.limits();
    ensure!(
        limits.block_size.is_power_of_two() && limits.block_size >= 512,
        "the block size is {}",
        limits.block_size
    );
    ensure!(
        limits.request_alignment.is_power_of_two(),
        "the request alignment is {}",
        limits.request_alignment
    );
    ensure!(
        limits.memory_alignment.is_power_of_two(),
        "the memory alignment is {}",
        limits.memory_alignment
    );
    ensure!(
        limits.max_transfer.is_multiple_of(limits.request_alignment),
        "the largest transfer, {}, is no multiple of the request alignment",
        limits.max_transfer
    );
    ensure!(!limits.read_only, "a fresh node is read-only");
    ensure!(!cx.node.driver().driver_name().is_empty(), "the driver has no name");
    if let Some(zoned) = limits.zoned {
        let block = u64::from(limits.block_size);
        ensure!(
            zoned.zone_size > 0 && zoned.zone_size % block == 0,
            "the zone size is {:#x}",
            zoned.zone_size
        );
        ensure_eq!(
            zoned.nr_zones,
            cx.node.length().div_ceil(zoned.zone_size),
            "number of zones on {:#x} bytes",
            cx.node.length()
        );
        ensure!(
            zoned.write_granularity.is_power_of_two(),
            "the write granularity is {}",
            zoned.write_granularity
        );
        ensure!(
            zoned.max_active_zones == 0 || zoned.max_open_zones <= zoned.max_active_zones,
            "{} zones may be open, but only {} active",
            zoned.max_open_zones,
            zoned.max_active_zones
        );
    }
    Ok(())
}

async fn limits_never_change(cx: Cx) -> Outcome {
    let before = *cx.limits();
    ensure_eq!(cx.node.driver().limits(), before, "limits when asked again");
    let unit = cx.unit();
    for area in cx.areas(unit).await? {
        cx.write(area.start, &pattern(1, unit)).await?;
    }
    cx.node.flush().await?;
    if cx.zoned().is_ok() {
        let len = cx.node.length();
        cx.node.manage_zones(ZoneOp::Reset, 0, len).await?;
    }
    ensure_eq!(cx.node.driver().limits(), before, "limits after use");
    Ok(())
}

async fn zones_are_where_the_limits_say(cx: Cx) -> Outcome {
    let limits = cx.limits().zoned.is_some();
    ensure_eq!(
        cx.node.driver().zoned().is_some(),
        limits,
        "whether the driver gives its zoned half, beside limits.zoned"
    );
    ensure_eq!(limits, cx.profile.zoned, "whether the node has zones");
    Ok(())
}

async fn a_node_without_zones_refuses_zone_operations(cx: Cx) -> Outcome {
    cx.regular()?;
    let unit = cx.unit();
    let report = cx.node.report_zones(0, 1).await;
    cx.refused(report, &["not-zoned"], "a report")?;
    for op in ZoneOp::ALL {
        let manage = cx.node.manage_zones(op, 0, unit).await;
        cx.refused(manage, &["not-zoned"], op.name())?;
    }
    let data = whole(&pattern(1, unit));
    let append = cx.node.append(0, data, RequestFlags::empty()).await;
    cx.refused(append, &["not-zoned"], "an append")?;
    Ok(())
}

async fn length_is_whole_requests(cx: Cx) -> Outcome {
    let (length, limits) = (cx.node.length(), cx.limits());
    ensure!(length > 0, "the node is empty");
    ensure_eq!(
        length % u64::from(limits.request_alignment.max(1)),
        0,
        "what the length {length:#x} is too much for whole requests"
    );
    Ok(())
}

async fn children_never_change(cx: Cx) -> Outcome {
    let names = |cx: &Cx| -> Vec<String> {
        let children = cx.node.children();
        children.iter().map(|c| c.name().to_owned()).collect()
    };
    let before = names(&cx);
    let unit = cx.unit();
    for area in cx.areas(unit).await? {
        cx.write(area.start, &pattern(1, unit)).await?;
    }
    cx.node.flush().await?;
    ensure_eq!(names(&cx), before, "children after use");
    if cx.limits().zoned.is_some() {
        for child in cx.node.children() {
            ensure!(
                child.needs().carries_zones || child.limits().zoned.is_none(),
                "the zoned child '{}' is under a parent that carries no zones",
                child.name()
            );
        }
    }
    Ok(())
}

async fn requests_are_counted(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.areas(unit).await?[0];
    let count = |kind| {
        let ops = cx.node.stats().of(kind);
        (ops.done(), ops.bytes())
    };
    let before = [OpKind::Read, OpKind::Write, OpKind::Flush].map(count);
    cx.write(area.start, &pattern(1, unit)).await?;
    cx.read(area.start, unit).await?;
    cx.node.flush().await?;
    let after = [OpKind::Read, OpKind::Write, OpKind::Flush].map(count);
    for ((before, after), bytes) in before.iter().zip(after).zip([unit, unit, 0]) {
        ensure_eq!(after, (before.0 + 1, before.1 + bytes), "requests and bytes counted");
    }
    Ok(())
}

async fn read_only_shows_in_the_limits(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.areas(unit).await?[0];
    let data = pattern(1, unit);
    cx.write(area.start, &data).await?;
    let (length, zoned) = (cx.node.length(), cx.limits().zoned);
    let cx = cx.reopen(End::Close, OpenMode::ReadOnly).await?;
    ensure!(cx.limits().read_only, "limits.read_only is false on a node that was opened read-only");
    ensure_eq!(cx.node.length(), length, "length when opened read-only");
    ensure_eq!(cx.limits().zoned, zoned, "zoned limits when read-only");
    cx.expect(area.start, &data, "data when opened read-only").await?;
    if cx.zoned().is_ok() {
        cx.zones().await?;
    }
    cx.node.settle().await?;
    cx.node.close().await?;
    Ok(())
}

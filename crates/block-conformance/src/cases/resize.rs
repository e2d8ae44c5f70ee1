//! Changes of length.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use crate::pattern::pattern;

cases!("resize":
    growth_reads_as_zeroes,
    growth_keeps_data,
    what_was_cut_off_is_gone,
    grown_space_is_usable,
    the_same_length_changes_nothing,
    a_fixed_length_stays,
    a_look_at_what_nobody_changed_changes_nothing,
);

fn resizes(cx: &Cx) -> Outcome<(u64, u64)> {
    if !cx.profile.resizes {
        return skip("the node has a fixed length");
    }
    Ok((cx.unit(), cx.usable_length()))
}

async fn growth_reads_as_zeroes(cx: Cx) -> Outcome {
    let (unit, old) = resizes(&cx)?;
    cx.node.resize(old + 64 * unit).await?;
    ensure_eq!(cx.node.length(), old + 64 * unit, "length after growth");
    cx.expect_zeroes(old, 64 * unit, "new space").await
}

async fn growth_keeps_data(cx: Cx) -> Outcome {
    let (unit, old) = resizes(&cx)?;
    let data = pattern(1, 4 * unit);
    cx.write(0, &data).await?;
    cx.write(old - 4 * unit, &data).await?;
    cx.node.resize(old * 2).await?;
    cx.expect(0, &data, "data before growth").await?;
    cx.expect(old - 4 * unit, &data, "data before growth").await
}

async fn what_was_cut_off_is_gone(cx: Cx) -> Outcome {
    let (unit, old) = resizes(&cx)?;
    let data = pattern(1, 8 * unit);
    cx.write(old - 8 * unit, &data).await?;
    cx.node.resize(old - 4 * unit).await?;
    ensure_eq!(cx.node.length(), old - 4 * unit, "length after a cut");
    let kept = &data[..4 * unit as usize];
    cx.expect(old - 8 * unit, kept, "data before the cut").await?;
    cx.node.resize(old).await?;
    cx.expect(old - 8 * unit, kept, "data before the cut").await?;
    cx.expect_zeroes(old - 4 * unit, 4 * unit, "space that was cut off").await
}

async fn grown_space_is_usable(cx: Cx) -> Outcome {
    let (unit, old) = resizes(&cx)?;
    cx.node.resize(old + 16 * unit).await?;
    let data = pattern(1, 16 * unit);
    cx.write(old, &data).await?;
    cx.expect(old, &data, "data in new space").await
}

async fn the_same_length_changes_nothing(cx: Cx) -> Outcome {
    let (unit, old) = resizes(&cx)?;
    let length = cx.node.length();
    let data = pattern(1, unit);
    cx.write(old - unit, &data).await?;
    cx.node.resize(length).await?;
    ensure_eq!(cx.node.length(), length, "length");
    cx.expect(old - unit, &data, "data").await
}

async fn a_fixed_length_stays(cx: Cx) -> Outcome {
    if cx.profile.resizes {
        return skip("the node's length can be changed");
    }
    let length = cx.node.length();
    let unit = cx.unit();
    for other in [length + 16 * unit, length - 16 * unit] {
        let result = cx.node.resize(other).await;
        let kinds = ["unsupported", "invalid-option", "no-space", "io"];
        cx.refused(result, &kinds, "a resize of a node of fixed length")?;
        ensure_eq!(cx.node.length(), length, "length after a refused resize");
    }
    Ok(())
}

async fn a_look_at_what_nobody_changed_changes_nothing(cx: Cx) -> Outcome {
    if cx.node.limits().zoned.is_some() {
        let length = cx.node.length();
        cx.refused(cx.node.refresh().await, &["unsupported"], "a look at zones' length")?;
        ensure_eq!(cx.node.length(), length, "length after a refused look");
        return Ok(());
    }
    let (unit, usable) = (cx.unit(), cx.usable_length());
    let data = pattern(1, 4 * unit);
    cx.write(usable - 4 * unit, &data).await?;
    if cx.profile.resizes {
        cx.node.resize(usable * 2).await?;
    }
    let length = cx.node.length();
    cx.node.refresh().await?;
    ensure_eq!(cx.node.length(), length, "length after a look");
    cx.expect(usable - 4 * unit, &data, "data before the look").await
}

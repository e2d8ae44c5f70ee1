//! Write-zeroes and discard.

use crate::cx::Cx;
use crate::outcome::{Outcome, failed, skip};
use crate::pattern::pattern;
use crate::profile::Retention;
use block_core::RequestFlags;

cases!("zeroes":
    every_set_of_flags,
    neighbours_of_zeroes_are_untouched,
    a_large_range_of_zeroes,
    data_after_zeroes,
    discard_as_the_limits_say,
    neighbours_of_a_discard_are_untouched,
    data_after_a_discard,
);

async fn every_set_of_flags(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(8 * unit).await?;
    for bits in 0..8 {
        let flags = RequestFlags::from_bits_truncate(bits);
        let data = pattern(1 + u64::from(bits), 8 * unit);
        cx.write(area.start, &data).await?;
        match cx.node.write_zeroes(area.start + unit, 4 * unit, flags).await {
            Ok(()) => {
                let what = format!("a range after write-zeroes with {flags:?}");
                cx.expect_zeroes(area.start + unit, 4 * unit, &what).await?;
            }
            Err(e) if flags.contains(RequestFlags::NO_FALLBACK) => {
                cx.refused::<()>(Err(e), &["unsupported"], "write-zeroes without fallback")?;
                cx.expect(area.start, &data, "a range that could not be zeroed").await?;
            }
            Err(e) => return failed(format!("write-zeroes with {flags:?} was refused: {e}")),
        }
    }
    Ok(())
}

async fn neighbours_of_zeroes_are_untouched(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(16 * unit).await?;
    let mut data = pattern(1, 16 * unit);
    for (flags, first, count) in [(RequestFlags::empty(), 1, 1), (RequestFlags::MAY_UNMAP, 3, 9)] {
        cx.write(area.start, &data).await?;
        let (at, len) = (first * unit, count * unit);
        cx.node.write_zeroes(area.start + at, len, flags).await?;
        data[at as usize..(at + len) as usize].fill(0);
        cx.expect(area.start, &data, "a range with zeroes inside").await?;
    }
    Ok(())
}

async fn a_large_range_of_zeroes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(4 * unit).await?;
    let len = area.len.min(3 << 20) / unit * unit;
    cx.write(area.start, &pattern(1, len)).await?;
    let flags = RequestFlags::MAY_UNMAP;
    cx.node.write_zeroes(area.start, len - unit, flags).await?;
    cx.expect_zeroes(area.start, len - unit, "a large range of zeroes").await?;
    let last = &pattern(1, len)[(len - unit) as usize..];
    cx.expect(area.start + len - unit, last, "the block after it").await
}

async fn data_after_zeroes(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(4 * unit).await?;
    let flags = RequestFlags::MAY_UNMAP;
    cx.node.write_zeroes(area.start, 4 * unit, flags).await?;
    cx.write(area.start + unit, &pattern(1, unit)).await?;
    cx.expect(area.start + unit, &pattern(1, unit), "data over zeroes").await?;
    cx.expect_zeroes(area.start + 2 * unit, 2 * unit, "zeroes after data").await
}

/// Each byte of a discarded range is the old one or zero.
async fn old_or_zero(cx: &Cx, offset: u64, old: &[u8]) -> Outcome {
    if cx.profile.retention != Retention::Data {
        return Ok(());
    }
    let found = cx.read(offset, old.len() as u64).await?;
    match found.iter().zip(old).position(|(f, o)| f != o && *f != 0) {
        None => Ok(()),
        Some(at) => failed(format!(
            "the discarded byte at {:#x} is neither the old one nor zero",
            offset + at as u64
        )),
    }
}

async fn discard_as_the_limits_say(cx: Cx) -> Outcome {
    let len = 16 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(1, len);
        cx.write(area.start, &data).await?;
        let result = cx.node.discard(area.start, len).await;
        if cx.limits().discard {
            result?;
            old_or_zero(&cx, area.start, &data).await?;
        } else {
            cx.refused(result, &["unsupported"], "a discard that the limits deny")?;
            cx.expect(area.start, &data, "data after a refused discard").await?;
        }
    }
    Ok(())
}

async fn neighbours_of_a_discard_are_untouched(cx: Cx) -> Outcome {
    if !cx.limits().discard {
        return skip("the node takes no discards");
    }
    let unit = cx.unit();
    let area = cx.rewritable(64 * unit).await?;
    let data = pattern(1, 64 * unit);
    cx.write(area.start, &data).await?;
    cx.node.discard(area.start + unit, 62 * unit).await?;
    let (first, last) = (&data[..unit as usize], &data[63 * unit as usize..]);
    cx.expect(area.start, first, "the block before a discard").await?;
    cx.expect(area.start + 63 * unit, last, "the block after a discard").await
}

async fn data_after_a_discard(cx: Cx) -> Outcome {
    if !cx.limits().discard {
        return skip("the node takes no discards");
    }
    let unit = cx.unit();
    let area = cx.rewritable(16 * unit).await?;
    cx.write(area.start, &pattern(1, 16 * unit)).await?;
    cx.node.discard(area.start, 16 * unit).await?;
    cx.write(area.start, &pattern(2, 16 * unit)).await?;
    cx.expect(area.start, &pattern(2, 16 * unit), "data over a discard").await
}

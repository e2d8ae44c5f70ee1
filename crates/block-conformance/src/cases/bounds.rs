//! The first and the last byte. What lies outside, the backend refuses.

use crate::cx::Cx;
use crate::outcome::Outcome;
use crate::pattern::pattern;

cases!("bounds":
    the_first_block_is_usable,
    the_last_block_is_usable,
    a_request_may_end_at_the_end,
    reads_reach_every_part,
    the_length_stays,
    requests_of_no_bytes_change_nothing,
);

async fn the_first_block_is_usable(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(2 * unit).await? {
        cx.write(area.start, &pattern(1, unit)).await?;
        cx.expect(area.start, &pattern(1, unit), "the first block").await?;
    }
    Ok(())
}

async fn the_last_block_is_usable(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(2 * unit).await?;
    let last = area.start + area.len - unit;
    cx.write(last, &pattern(1, unit)).await?;
    cx.expect(last, &pattern(1, unit), "the last block").await
}

async fn a_request_may_end_at_the_end(cx: Cx) -> Outcome {
    let len = 16 * cx.unit();
    let area = cx.rewritable(len).await?;
    let offset = area.start + area.len - len;
    cx.write(offset, &pattern(1, len)).await?;
    cx.expect(offset, &pattern(1, len), "the last blocks").await
}

async fn reads_reach_every_part(cx: Cx) -> Outcome {
    let (unit, length) = (cx.unit(), cx.usable_length());
    for part in 0..8 {
        let at = length / 8 * part / unit * unit;
        cx.read(at, unit).await?;
    }
    cx.read(length - unit, unit).await?;
    let len = length.min(4 << 20);
    cx.read(length - len, len).await?;
    Ok(())
}

async fn the_length_stays(cx: Cx) -> Outcome {
    let (unit, length) = (cx.unit(), cx.node.length());
    for area in cx.areas(unit).await? {
        cx.write(area.start, &pattern(1, unit)).await?;
        if area.rewritable {
            cx.write(area.start + area.len - unit, &pattern(1, unit)).await?;
        }
    }
    cx.node.flush().await?;
    ensure_eq!(cx.node.length(), length, "length after writes");
    Ok(())
}

/// Whether such a request is an error is left open. That it does nothing is not.
async fn requests_of_no_bytes_change_nothing(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(unit).await? {
        let data = pattern(1, unit);
        cx.write(area.start, &data).await?;
        let _ = cx.write(area.start, &[]).await;
        if let Ok(read) = cx.read(area.start, 0).await {
            ensure!(read.is_empty(), "a read of no bytes gave some");
        }
        cx.expect(area.start, &data, "data after requests of no bytes").await?;
    }
    Ok(())
}

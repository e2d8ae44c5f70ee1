//! What was written is read.

use crate::cx::Cx;
use crate::outcome::{Outcome, skip};
use crate::pattern::{ODD, in_pieces, pattern};
use block_core::{IoBuf, IoBufMut, IoVec, IoVecMut, RequestFlags};
use bytes::Bytes;

cases!("data":
    one_block,
    many_blocks,
    parts_of_a_write,
    an_overwrite_of_a_part,
    neighbours_are_untouched,
    every_block_keeps_its_own,
    more_than_a_mebibyte,
    writes_of_odd_segments,
    reads_into_odd_segments,
    more_segments_than_a_system_call_takes,
    bytes_are_written_as_they_are,
    a_read_gives_its_buffers_back,
    a_written_buffer_stays_readable,
);

async fn one_block(cx: Cx) -> Outcome {
    let unit = cx.unit();
    for area in cx.areas(unit).await? {
        cx.write(area.start, &pattern(1, unit)).await?;
        cx.expect(area.start, &pattern(1, unit), "one block").await?;
    }
    Ok(())
}

async fn many_blocks(cx: Cx) -> Outcome {
    let len = 24 * cx.unit();
    for area in cx.areas(len).await? {
        cx.write(area.start, &pattern(2, len)).await?;
        cx.expect(area.start, &pattern(2, len), "many blocks").await?;
    }
    Ok(())
}

async fn parts_of_a_write(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let data = pattern(3, 16 * unit);
    for area in cx.areas(16 * unit).await? {
        cx.write(area.start, &data).await?;
        for (first, count) in [(0, 1), (0, 5), (1, 1), (3, 7), (7, 9), (15, 1)] {
            let (from, to) = ((first * unit) as usize, ((first + count) * unit) as usize);
            cx.expect(area.start + first * unit, &data[from..to], "a part").await?;
        }
    }
    Ok(())
}

async fn an_overwrite_of_a_part(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(16 * unit).await?;
    let mut data = pattern(4, 16 * unit);
    cx.write(area.start, &data).await?;
    for (first, count, seed) in [(5_u64, 3_u64, 5), (0, 1, 6), (14, 2, 7), (6, 1, 8)] {
        let part = pattern(seed, count * unit);
        cx.write(area.start + first * unit, &part).await?;
        data[(first * unit) as usize..((first + count) * unit) as usize].copy_from_slice(&part);
        cx.expect(area.start, &data, "all after an overwrite of a part").await?;
    }
    Ok(())
}

async fn neighbours_are_untouched(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(3 * unit).await?;
    let middle = area.start + area.len / unit / 2 * unit;
    let around = pattern(1, unit);
    cx.write(middle - unit, &around).await?;
    cx.write(middle + unit, &around).await?;
    cx.write(middle, &pattern(2, unit)).await?;
    cx.expect(middle - unit, &around, "the block before").await?;
    cx.expect(middle + unit, &around, "the block after").await
}

async fn every_block_keeps_its_own(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.rewritable(4 * unit).await?;
    if area.len > 64 << 20 {
        return skip("the node is too large to be written as a whole in a test");
    }
    let step = (64 << 10) / unit * unit;
    let pieces =
        |len: u64| (0..len.div_ceil(step)).map(move |i| (i * step, step.min(len - i * step)));
    for (at, len) in pieces(area.len) {
        cx.write(area.start + at, &pattern(at, len)).await?;
    }
    for (at, len) in pieces(area.len) {
        cx.expect(area.start + at, &pattern(at, len), "a piece of the whole").await?;
    }
    Ok(())
}

async fn more_than_a_mebibyte(cx: Cx) -> Outcome {
    let len = ((1_u64 << 20) + 1).next_multiple_of(cx.unit());
    let mut areas = cx.areas(len).await;
    if areas.is_err() {
        // Small zones: as much as there is.
        let all = cx.areas(cx.unit()).await?;
        let largest = all.iter().map(|a| a.len).max().unwrap_or(0);
        areas = cx.areas(largest).await;
    }
    for area in areas? {
        let len = len.min(area.len);
        cx.write(area.start, &pattern(5, len)).await?;
        cx.expect(area.start, &pattern(5, len), "a large write").await?;
    }
    Ok(())
}

async fn writes_of_odd_segments(cx: Cx) -> Outcome {
    let len = 32 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(6, len);
        let bufs = in_pieces(&data, &ODD);
        cx.node.write(area.start, bufs, RequestFlags::empty()).await?;
        cx.expect(area.start, &data, "data that was written in odd segments").await?;
    }
    Ok(())
}

async fn reads_into_odd_segments(cx: Cx) -> Outcome {
    let len = 32 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(7, len);
        cx.write(area.start, &data).await?;
        let mut bufs: IoVecMut =
            in_pieces(&data, &ODD).segments().iter().map(|s| IoBufMut::zeroed(s.len())).collect();
        bufs.fill(0xee);
        let lens =
            |bufs: &IoVecMut| -> Vec<_> { bufs.segments().iter().map(IoBufMut::len).collect() };
        let before = lens(&bufs);
        let bufs = cx.node.read(area.start, bufs).await?;
        ensure_eq!(lens(&bufs), before, "lengths of the segments that came back");
        cx.compare(&bufs.to_vec(), &data, "data that was read into odd segments")?;
    }
    Ok(())
}

async fn more_segments_than_a_system_call_takes(cx: Cx) -> Outcome {
    const SEGMENTS: u64 = 1500; // IOV_MAX is 1024 on Linux
    let unit = cx.unit();
    let len = (SEGMENTS * 16).next_multiple_of(unit);
    for area in cx.areas(len).await? {
        let data = pattern(8, len);
        let bufs = in_pieces(&data, &[16]);
        cx.node.write(area.start, bufs, RequestFlags::empty()).await?;
        cx.expect(area.start, &data, "data that was written in many segments").await?;
        let bufs = (0..len / 16).map(|_| IoBufMut::zeroed(16)).collect();
        let bufs = cx.node.read(area.start, bufs).await?;
        cx.compare(&bufs.to_vec(), &data, "data that was read into many segments")?;
    }
    Ok(())
}

async fn bytes_are_written_as_they_are(cx: Cx) -> Outcome {
    let len = 4 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(9, len + 3);
        // A slice at an odd address, joined with another one.
        let bytes = Bytes::from(data.clone());
        let mut bufs = IoVec::from(bytes.slice(3..100));
        bufs.append(IoVec::from(bytes.slice(100..)));
        cx.node.write(area.start, bufs, RequestFlags::empty()).await?;
        cx.expect(area.start, &data[3..], "data that was written from Bytes").await?;
        ensure!(bytes[..] == data[..], "the written Bytes were changed");
    }
    Ok(())
}

async fn a_read_gives_its_buffers_back(cx: Cx) -> Outcome {
    let unit = cx.unit();
    let area = cx.areas(4 * unit).await?[0];
    let bufs: IoVecMut =
        [3, 1].map(|n| IoBufMut::zeroed((n * unit) as usize)).into_iter().collect();
    let addresses =
        |bufs: &IoVecMut| -> Vec<_> { bufs.segments().iter().map(|s| s.as_ptr().addr()).collect() };
    let before = addresses(&bufs);
    let bufs = cx.node.read(area.start, bufs).await?;
    ensure_eq!(addresses(&bufs), before, "addresses of the buffers that came back");
    Ok(())
}

async fn a_written_buffer_stays_readable(cx: Cx) -> Outcome {
    let len = 4 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(10, len);
        let buf = IoBuf::copy_of(&data);
        cx.node.write(area.start, buf.clone().into(), RequestFlags::empty()).await?;
        ensure!(buf.to_vec() == data, "a write changed the memory that it was given");
    }
    Ok(())
}

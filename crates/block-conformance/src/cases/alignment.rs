//! Memory at any address, and the smallest requests.

use crate::cx::Cx;
use crate::foreign::{foreign, foreign_mut};
use crate::outcome::{Outcome, skip};
use crate::pattern::{in_pieces, pattern};
use block_core::{BufferPool, IoBuf, IoBufMut, IoVec, RequestFlags};

cases!("alignment":
    memory_at_odd_addresses_is_read_into,
    memory_at_odd_addresses_is_written_from,
    pooled_memory_is_used,
    foreign_memory_is_read_into,
    foreign_memory_is_written_from,
    foreign_and_own_memory_mix,
    the_smallest_request_is_enough,
);

/// A buffer whose address is odd.
fn odd(len: u64) -> IoBufMut {
    let mut buf = IoBufMut::zeroed(len as usize + 1);
    let _ = buf.split_to(1);
    buf
}

async fn memory_at_odd_addresses_is_read_into(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(1, len);
        cx.write(area.start, &data).await?;
        let bufs = cx.node.read(area.start, odd(len).into()).await?;
        cx.compare(&bufs.to_vec(), &data, "data that was read to an odd address")?;
    }
    Ok(())
}

async fn memory_at_odd_addresses_is_written_from(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(2, len);
        let mut buf = odd(len);
        buf.copy_from_slice(&data);
        cx.node.write(area.start, buf.into(), RequestFlags::empty()).await?;
        cx.expect(area.start, &data, "data that was written from an odd address").await?;
    }
    Ok(())
}

async fn pooled_memory_is_used(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    let pool = BufferPool::default();
    for area in cx.areas(len).await? {
        let data = pattern(3, len);
        let mut buf = pool.get(len as usize);
        buf.copy_from_slice(&data);
        cx.node.write(area.start, buf.into(), RequestFlags::empty()).await?;
        let bufs = cx.node.read(area.start, pool.get(len as usize).into()).await?;
        cx.compare(&bufs.to_vec(), &data, "data through pooled memory")?;
    }
    Ok(())
}

async fn foreign_memory_is_read_into(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(4, len);
        cx.write(area.start, &data).await?;
        let bufs = cx.node.read(area.start, foreign_mut(len as usize).into()).await?;
        cx.compare(&bufs.to_vec(), &data, "data that was read into foreign memory")?;
    }
    Ok(())
}

async fn foreign_memory_is_written_from(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(5, len);
        let bufs = IoVec::from(foreign(&data));
        cx.node.write(area.start, bufs, RequestFlags::empty()).await?;
        cx.expect(area.start, &data, "data that was written from foreign memory").await?;
    }
    Ok(())
}

async fn foreign_and_own_memory_mix(cx: Cx) -> Outcome {
    let len = 8 * cx.unit();
    for area in cx.areas(len).await? {
        let data = pattern(6, len);
        let bufs: IoVec = in_pieces(&data, &[1000, 24, 7])
            .into_iter()
            .enumerate()
            .map(|(i, piece): (usize, IoBuf)| match i % 2 {
                0 => foreign(&piece.to_vec()),
                _ => piece,
            })
            .collect();
        cx.node.write(area.start, bufs, RequestFlags::empty()).await?;
        let bufs = [foreign_mut(333), odd(len - 333)].into_iter().collect();
        let bufs = cx.node.read(area.start, bufs).await?;
        cx.compare(&bufs.to_vec(), &data, "data through mixed memory")?;
    }
    Ok(())
}

async fn the_smallest_request_is_enough(cx: Cx) -> Outcome {
    cx.regular()?;
    let smallest = u64::from(cx.limits().request_alignment);
    if smallest >= cx.unit() {
        return skip("requests are whole blocks");
    }
    let block = cx.unit();
    let mut data = pattern(7, 2 * block);
    cx.write(0, &data).await?;
    for at in [0, smallest, block - smallest, block, block + smallest] {
        let piece = pattern(8 + at, smallest);
        cx.write(at, &piece).await?;
        data[at as usize..(at + smallest) as usize].copy_from_slice(&piece);
        cx.expect(at, &piece, "the smallest request").await?;
    }
    cx.expect(0, &data, "the blocks around").await
}

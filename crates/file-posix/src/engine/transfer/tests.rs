//! Requests against a kernel made of a vector, which transfers as little as it likes.

use super::*;
use crate::sys;
use proptest::prelude::*;

/// What the kernel does with one call: fail with `EINTR`, or transfer up to so many units.
type Script = Vec<Option<usize>>;

fn script() -> impl Strategy<Value = Script> {
    prop::collection::vec(prop::option::of(1_usize..20), 1..8)
}

/// Segments of memory whose addresses are off an aligned one by `offs`.
fn memory(segments: &[(usize, usize)]) -> IoVecMut {
    let segments = segments.iter().map(|&(off, len)| {
        let mut whole = IoBufMut::zeroed(off + len);
        let _ = whole.split_to(off);
        whole.fill(0xEE);
        whole
    });
    segments.collect()
}

fn lens(segments: &[(usize, usize)]) -> Vec<usize> {
    let lens = segments.iter().map(|s| s.1);
    lens.filter(|len| *len > 0).collect()
}

/// Copies into the list from the cursor on.
fn put(target: &mut IoVecMut, at: Cursor, mut data: &[u8]) {
    let mut skip = at.done();
    for segment in target.segments_mut() {
        let before = skip.min(segment.len());
        skip -= before;
        let part = &mut segment.as_mut_slice().unwrap()[before..];
        let n = part.len().min(data.len());
        part[..n].copy_from_slice(&data[..n]);
        data = &data[n..];
    }
}

fn interrupted() -> io::Result<usize> {
    Err(io::ErrorKind::Interrupted.into())
}

fn alignment(unit: u32) -> Alignment {
    Alignment { request: unit, memory: unit }
}

/// Runs a read of `segments` at `offset` of a file.
fn read(
    file: &[u8],
    offset: usize,
    segments: &[(usize, usize)],
    unit: u32,
    script: &Script,
) -> IoVecMut {
    let pool = BufferPool::default();
    let a = alignment(unit);
    let mut reading = Reading::new(&pool, a, offset as u64, memory(segments));
    let mut script = script.iter().cycle();
    while let Some(call) = reading.next_call() {
        assert!(call.offset.is_multiple_of(u64::from(unit)));
        let start = usize::try_from(call.offset).unwrap().min(file.len());
        let wanted = call.target.len() - call.at.done();
        let result = match script.next().unwrap() {
            Some(units) => {
                let end = (start + wanted.min(units * a.unit())).min(file.len());
                put(call.target, call.at, &file[start..end]);
                Ok(end - start)
            }
            None => interrupted(),
        };
        reading.completed(result).unwrap();
    }
    reading.finish()
}

fn content(len: usize) -> Vec<u8> {
    (1..252).cycle().take(len).collect()
}

/// What a read gives: the file's bytes, then zeroes.
fn expected(file: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let bytes = file.iter().copied().skip(offset);
    bytes.chain(std::iter::repeat(0)).take(len).collect()
}

proptest! {
    #[test]
    fn a_buffered_read_gives_every_byte(
        size in 0_usize..300,
        offset in 0_usize..300,
        segments in prop::collection::vec((0_usize..3, 0_usize..60), 0..5),
        script in script(),
    ) {
        prop_assume!(script.iter().any(Option::is_some));
        let file = content(size);
        let read = read(&file, offset, &segments, 1, &script);
        prop_assert_eq!(shape(&read), lens(&segments));
        prop_assert_eq!(read.to_vec(), expected(&file, offset, read.len()));
    }

    #[test]
    fn a_direct_read_gives_every_byte_wherever_the_memory_lies(
        size in 0_usize..6000,
        offset in 0_usize..10,
        segments in prop::collection::vec((0_usize..3, 0_usize..900), 0..5),
        fill in 1_usize..5,
        aligned: bool,
        script in script(),
    ) {
        prop_assume!(script.iter().any(Option::is_some));
        let mut segments = segments;
        if aligned {
            segments.iter_mut().for_each(|s| *s = (0, s.1.next_multiple_of(512)));
        } else {
            // The request as a whole is always aligned.
            let total: usize = segments.iter().map(|s| s.1).sum();
            segments.push((fill, total.next_multiple_of(512) - total));
        }
        let file = content(size);
        let read = read(&file, offset * 512, &segments, 512, &script);
        prop_assert_eq!(shape(&read), lens(&segments));
        prop_assert_eq!(read.to_vec(), expected(&file, offset * 512, read.len()));
    }

    #[test]
    fn a_write_puts_every_byte_where_it_belongs(
        offset in 0_usize..10,
        blocks in 0_usize..10,
        cuts in prop::collection::vec(0_usize..900, 0..4),
        direct: bool,
        script in prop::collection::vec(prop::option::of(512_usize..2000), 1..8),
    ) {
        prop_assume!(script.iter().any(Option::is_some));
        let unit = if direct { 512 } else { 1 };
        let data = content(blocks * 512);
        let mut rest = IoBuf::copy_of(&data);
        let mut list: IoVec = cuts.iter().map(|n| rest.split_to(*n)).collect();
        list.push(rest);
        let mut file = vec![0; 64 << 10];
        let pool = BufferPool::default();
        let mut writing = Writing::new(&pool, alignment(unit), (offset * 512) as u64, list);
        let mut script = script.iter().cycle();
        while let Some(call) = writing.next_call() {
            let start = usize::try_from(call.offset).unwrap();
            let bytes = call.source.to_vec();
            let result = match script.next().unwrap() {
                Some(n) => {
                    let bytes = &bytes[call.at.done()..];
                    let n = (*n).min(bytes.len());
                    file[start..start + n].copy_from_slice(&bytes[..n]);
                    Ok(n)
                }
                None => interrupted(),
            };
            writing.completed(result).unwrap();
        }
        let end = offset * 512 + data.len();
        prop_assert_eq!(writing.position(), end as u64);
        prop_assert_eq!(&file[offset * 512..end], &data[..]);
        prop_assert!(file[..offset * 512].iter().chain(&file[end..]).all(|b| *b == 0));
    }
}

#[test]
fn large_bounces_go_piece_by_piece() {
    let file = content((2 << 20) + 700);
    let segments = [(1, 3 << 20), (0, 512)];
    let read = read(&file, 0, &segments, 512, &vec![Some(100_000)]);
    assert_eq!(shape(&read), lens(&segments));
    assert!(read.to_vec() == expected(&file, 0, read.len()));
}

#[test]
fn segments_that_are_neighbours_stay_apart() {
    let mut whole = IoBufMut::zeroed(4096);
    let front = whole.split_to(1000);
    let list: IoVecMut = [front, whole].into_iter().collect();
    let pool = BufferPool::default();
    for unit in [1, 512] {
        let mut reading = Reading::new(&pool, alignment(unit), 0, list_like(&list));
        while reading.next_call().is_some() {
            reading.completed(Ok(0)).unwrap();
        }
        assert_eq!(shape(&reading.finish()), [1000, 3096], "unit {unit}");
    }
}

fn list_like(list: &IoVecMut) -> IoVecMut {
    let mut whole = IoBufMut::zeroed(list.len());
    let cut = |segment: &IoBufMut| whole.split_to(segment.len());
    list.segments().iter().map(cut).collect()
}

#[test]
fn errors_and_stalled_writes_end_the_request() {
    let pool = BufferPool::default();
    let data = || IoVec::from(IoBuf::zeroed(1024));
    let mut writing = Writing::new(&pool, alignment(512), 0, data());
    assert_eq!(writing.completed(Ok(0)).unwrap_err().kind(), io::ErrorKind::WriteZero);
    // Less than a block is no progress.
    assert_eq!(writing.completed(Ok(511)).unwrap_err().kind(), io::ErrorKind::WriteZero);
    writing.completed(Ok(513)).unwrap();
    assert_eq!(writing.position(), 512);
    let full = io::Error::from_raw_os_error(28);
    assert_eq!(writing.completed(Err(full)).unwrap_err().raw_os_error(), Some(28));
    assert_eq!(writing.position(), 512);
}

/// More than one call takes, in bytes and in segments, through the real system calls.
#[test]
fn requests_beyond_the_limits_of_one_call_are_split() {
    let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let one = IoBuf::zeroed(1 << 20);
    let tiny = IoBuf::zeroed(1);
    for (segment, count) in [(one, 3100), (tiny, 5000)] {
        let list: IoVec = (0..count).map(|_| segment.clone()).collect();
        let total = list.len() as u64;
        let mut writing = Writing::new(&BufferPool::default(), Alignment::ANY, 7, list);
        let mut calls = 0;
        while let Some(call) = writing.next_call() {
            let result = sys::pwritev(&null, call.source, call.at, call.offset);
            writing.completed(result).unwrap();
            calls += 1;
        }
        assert_eq!(writing.position(), 7 + total);
        assert!(calls > 1);
    }
}

fn label(i: usize) -> u8 {
    u8::try_from(i).unwrap()
}

/// A disk that cannot be written or read from `bad` on.
fn until(bad: usize, offset: u64, len: usize) -> io::Result<usize> {
    let offset = usize::try_from(offset).unwrap();
    match bad.saturating_sub(offset).min(len) {
        0 => Err(io::Error::from_raw_os_error(5)),
        n => Ok(n),
    }
}

proptest! {
    /// Neighbours that are joined, fail somewhere, and are parted and tried again: each ends as it
    /// would have ended alone.
    #[test]
    fn what_was_joined_and_parted_ends_as_if_alone(
        lens in prop::collection::vec(1_usize..5, 2..10),
        bad in 0_usize..50,
        start in 0_u64..10,
    ) {
        let pool = BufferPool::default();
        let end_of = |i: usize| start + lens[..=i].iter().sum::<usize>() as u64;
        let start_of = |i: usize| end_of(i) - lens[i] as u64;

        let source = |i: usize| IoVec::from(vec![label(i); lens[i]]);
        let new = |i| Writing::new(&pool, Alignment::ANY, start_of(i), source(i));
        let run = |writing: &mut Writing, disk: &mut Vec<u8>| -> io::Result<()> {
            while let Some(call) = writing.next_call() {
                let data = &call.source.to_vec()[call.at.done()..];
                let done = until(bad, call.offset, data.len());
                if let Ok(n) = done {
                    let at = usize::try_from(call.offset).unwrap();
                    disk[at..at + n].copy_from_slice(&data[..n]);
                }
                writing.completed(done)?;
            }
            Ok(())
        };
        let mut alone = (vec![0xFF; 100], Vec::new());
        for i in 0..lens.len() {
            let done = run(&mut new(i), &mut alone.0).is_ok();
            prop_assert_eq!(done, end_of(i) <= bad as u64);
            alone.1.push(done);
        }
        for i in 1..lens.len() {
            prop_assert!(new(i - 1).is_followed_by(&new(i)));
            prop_assert!(!new(i).is_followed_by(&new(i - 1)));
        }
        let mut joined = (0..lens.len()).map(new).reduce(Writing::join).unwrap();
        let mut disk = vec![0xFF; 100];
        let _ = run(&mut joined, &mut disk);
        let parts: Vec<Writing> = joined.split(&lens).collect();
        let done: Vec<bool> =
            parts.into_iter().map(|mut part| run(&mut part, &mut disk).is_ok()).collect();
        prop_assert_eq!(&done, &alone.1);
        prop_assert_eq!(&disk, &alone.0);

        // All are cut from one buffer, and each into pieces of one and the rest.
        let mut whole = IoVecMut::from(vec![0xEE; lens.iter().sum()]);
        let mut pieces: Vec<_> = lens
            .iter()
            .map(|len| {
                let mut target = whole.split_to(1);
                whole.split_to(len - 1).into_iter().for_each(|segment| target.push(segment));
                Some(target)
            })
            .collect();
        let mut new = |i: usize| {
            Reading::new(&pool, Alignment::ANY, start_of(i), pieces[i].take().unwrap())
        };
        let run = |reading: &mut Reading| -> io::Result<()> {
            while let Some(call) = reading.next_call() {
                let at = usize::try_from(call.offset).unwrap();
                let done = until(bad, call.offset, call.target.len() - call.at.done());
                if let Ok(n) = done {
                    put(call.target, call.at, &disk[at..at + n]);
                }
                reading.completed(done)?;
            }
            Ok(())
        };
        let mut joined = (0..lens.len()).map(&mut new).reduce(Reading::join).unwrap();
        let _ = run(&mut joined);
        for (i, mut part) in joined.split(&lens).enumerate() {
            let done = run(&mut part).is_ok();
            prop_assert_eq!(done, alone.1[i]);
            if done {
                let read = part.finish();
                prop_assert_eq!(read.to_vec(), vec![label(i); lens[i]]);
                prop_assert_eq!(read.segments().len(), lens[i].min(2));
            }
        }
    }
}

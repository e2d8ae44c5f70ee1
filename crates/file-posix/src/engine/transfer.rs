//! A read or write as a series of system calls, whoever makes them.
//!
//! The state of one request: which memory the next call is for, and what its result means. Memory
//! that direct access cannot take is bounced: the calls work on an aligned buffer of the pool, one
//! piece at a time, and the bytes are copied.

use crate::alignment::Alignment;
use crate::sys::{Cursor, Memory, Transfer};
use block_core::{BufferPool, IoBuf, IoBufMut, IoVec, IoVecMut};
use std::io;
use std::ops::Range;

/// The largest bounce buffer, in bytes; a multiple of every alignment.
const PIECE: usize = 1 << 20;

/// What reads and writes have in common for an engine that takes the memory itself.
pub(super) trait Calls {
    /// Whether the calls give the file space where it has none.
    const FILLS_HOLES: bool;

    /// The next call, with its memory, which is to be given back; `None` if all is done.
    fn lend(&mut self) -> Option<Transfer>;

    /// Takes back what was lent.
    fn give_back(&mut self, memory: Memory);

    /// Takes the result of the call.
    fn completed(&mut self, result: io::Result<usize>) -> io::Result<()>;
}

/// A call that fills `target` from the cursor on.
pub(super) struct ReadCall<'a> {
    pub target: &'a mut IoVecMut,
    pub at: Cursor,
    pub offset: u64,
}

/// A request to fill memory.
pub(super) struct Reading {
    /// What the kernel fills: the caller's memory, or a bounce buffer for `piece`.
    target: IoVecMut,
    at: Cursor,
    /// Where in the file the target starts.
    start: u64,
    unit: usize,
    /// Rare, and large: in a box, since a request is moved several times on its way.
    bounce: Option<Box<ReadBounce>>,
}

struct ReadBounce {
    pool: BufferPool,
    /// The lengths of the caller's segments, which are given back as they came.
    shape: Vec<usize>,
    piece: IoVecMut,
    rest: IoVecMut,
    done: IoVecMut,
    /// The end of the file was met: the rest is zeroes.
    ended: bool,
}

impl Reading {
    pub(super) fn new(pool: &BufferPool, a: Alignment, offset: u64, bufs: IoVecMut) -> Self {
        let mut reading = Self {
            target: IoVecMut::new(),
            at: Cursor::default(),
            start: offset,
            unit: a.unit(),
            bounce: None,
        };
        if a.takes_read(&bufs) {
            reading.target = bufs;
        } else {
            reading.bounce = Some(Box::new(ReadBounce {
                pool: pool.clone(),
                shape: shape(&bufs),
                piece: IoVecMut::new(),
                rest: bufs,
                done: IoVecMut::new(),
                ended: false,
            }));
            reading.next_piece();
        }
        reading
    }

    /// The next call to make, or `None` if all is done.
    pub(super) fn next_call(&mut self) -> Option<ReadCall<'_>> {
        (self.at.done() < self.target.len()).then(|| ReadCall {
            offset: self.start.saturating_add(as_u64(self.at.done())),
            target: &mut self.target,
            at: self.at,
        })
    }

    /// How many bytes the request is for, and thus would be copied without waiting.
    pub(super) fn len(&self) -> usize {
        let rest = self.bounce.as_ref().map_or(0, |bounce| bounce.rest.len());
        self.target.len().saturating_add(rest)
    }

    /// Whether `next` begins where this ends, and nothing of either is read yet or has to be bounced.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        let is_fresh = |each: &Self| each.bounce.is_none() && each.at.done() == 0;
        is_fresh(self)
            && is_fresh(next)
            && self.start.checked_add(as_u64(self.target.len())) == Some(next.start)
    }

    /// This and the one that [follows](Self::is_followed_by) it as one.
    pub(super) fn join(mut self, next: Self) -> Self {
        // Each segment stays one, so that they are given back as they came.
        next.target.into_iter().for_each(|segment| self.target.push(segment));
        self
    }

    /// What was joined, as it was. What is read only in part is to be read again.
    pub(super) fn split(mut self, lens: &[usize]) -> impl Iterator<Item = Self> {
        let mut read = self.at.done();
        lens.iter().map(move |len| {
            let target = self.target.split_to(*len);
            let start = self.start;
            self.start = start.saturating_add(as_u64(*len));
            let mut each =
                Self { target, start, at: Cursor::default(), unit: self.unit, bounce: None };
            if read >= *len {
                each.advance(*len);
            }
            read = read.saturating_sub(*len);
            each
        })
    }

    /// Takes the result of the call.
    pub(super) fn completed(&mut self, result: io::Result<usize>) -> io::Result<()> {
        let n = match result {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        };
        self.advance(n);
        // A transfer ends below the unit only at the end of the file, and a direct read could not
        // go on from there.
        if n == 0 || !n.is_multiple_of(self.unit) {
            self.zero_rest();
        }
        if self.at.done() >= self.target.len() {
            self.next_piece();
        }
        Ok(())
    }

    /// The caller's memory, filled.
    pub(super) fn finish(self) -> IoVecMut {
        match self.bounce {
            None => self.target,
            Some(bounce) => reshape(bounce.done, &bounce.shape),
        }
    }

    fn advance(&mut self, n: usize) {
        let segments = self.target.segments();
        self.at.advance(n, |i| segments.get(i).map(IoBufMut::len));
    }

    /// Gives the piece that was read to the caller and starts on the next, if there is one.
    fn next_piece(&mut self) {
        let Some(bounce) = &mut self.bounce else {
            return;
        };
        let read = std::mem::take(&mut self.target);
        if let Some(read) = read.segments().first().and_then(IoBufMut::as_slice) {
            bounce.piece.copy_from_slice(read);
        }
        bounce.done.append(std::mem::take(&mut bounce.piece));
        self.start = self.start.saturating_add(as_u64(read.len()));
        self.at = Cursor::default();
        if bounce.ended {
            bounce.rest.fill(0);
            bounce.done.append(std::mem::take(&mut bounce.rest));
        } else if !bounce.rest.is_empty() {
            bounce.piece = bounce.rest.split_to(PIECE);
            self.target = bounce.pool.get(bounce.piece.len()).into();
        }
    }

    /// What lies past the end of the file reads as zeroes.
    fn zero_rest(&mut self) {
        let shape = shape(&self.target);
        let mut whole = self.target.split_to(self.at.done());
        let mut rest = std::mem::take(&mut self.target);
        rest.fill(0);
        let zeroed = rest.len();
        whole.append(rest);
        self.target = reshape(whole, &shape);
        self.advance(zeroed);
        if let Some(bounce) = &mut self.bounce {
            bounce.ended = true;
        }
    }
}

impl Calls for Reading {
    const FILLS_HOLES: bool = false;

    fn lend(&mut self) -> Option<Transfer> {
        let (at, offset) = self.next_call().map(|call| (call.at, call.offset))?;
        let memory = Memory::Fill(std::mem::take(&mut self.target));
        let last = self.bounce.as_ref().is_none_or(|bounce| bounce.rest.is_empty());
        Some(Transfer { memory, at, offset, last, at_once: false })
    }

    fn give_back(&mut self, memory: Memory) {
        if let Memory::Fill(target) = memory {
            self.target = target;
        }
    }

    fn completed(&mut self, result: io::Result<usize>) -> io::Result<()> {
        self.completed(result)
    }
}

fn shape(bufs: &IoVecMut) -> Vec<usize> {
    bufs.segments().iter().map(IoBufMut::len).collect()
}

/// Cuts the list into segments of these lengths. Where its own are other, they were cut from such
/// segments, or are several of them joined.
fn reshape(mut bufs: IoVecMut, shape: &[usize]) -> IoVecMut {
    let as_it_was = bufs.segments().iter().map(IoBufMut::len).eq(shape.iter().copied());
    if as_it_was {
        return bufs;
    }
    shape.iter().flat_map(|len| bufs.split_to(*len)).collect()
}

/// A call that writes `source` from the cursor on.
pub(super) struct WriteCall<'a> {
    pub source: &'a IoVec,
    pub at: Cursor,
    pub offset: u64,
}

/// A request to write memory.
pub(super) struct Writing {
    /// What the kernel takes: the caller's memory, or a copy of a piece of it.
    source: IoVec,
    at: Cursor,
    /// Where in the file the source goes.
    start: u64,
    unit: usize,
    /// As for [`Reading`]: the pool, and what is not copied yet.
    bounce: Option<Box<(BufferPool, IoVec)>>,
}

impl Writing {
    pub(super) fn new(pool: &BufferPool, a: Alignment, offset: u64, bufs: IoVec) -> Self {
        let mut writing = Self {
            source: IoVec::new(),
            at: Cursor::default(),
            start: offset,
            unit: a.unit(),
            bounce: None,
        };
        if a.takes_write(&bufs) {
            writing.source = bufs;
        } else {
            writing.bounce = Some(Box::new((pool.clone(), bufs)));
            writing.next_piece();
        }
        writing
    }

    /// The next call to make, or `None` if all is done.
    pub(super) fn next_call(&self) -> Option<WriteCall<'_>> {
        (self.at.done() < self.source.len()).then(|| WriteCall {
            source: &self.source,
            at: self.at,
            offset: self.position(),
        })
    }

    /// Where in the file what is left to write goes.
    pub(super) fn rest(&self) -> Range<u64> {
        self.position()..self.start.saturating_add(as_u64(self.len()))
    }

    /// How many bytes the request is for.
    pub(super) fn len(&self) -> usize {
        let rest = self.bounce.as_ref().map_or(0, |bounce| bounce.1.len());
        self.source.len().saturating_add(rest)
    }

    /// Whether `next` begins where this ends, and nothing of either is written yet or has to be
    /// bounced.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        let is_fresh = |each: &Self| each.bounce.is_none() && each.at.done() == 0;
        is_fresh(self)
            && is_fresh(next)
            && self.start.checked_add(as_u64(self.source.len())) == Some(next.start)
    }

    /// This and the one that [follows](Self::is_followed_by) it as one.
    pub(super) fn join(mut self, next: Self) -> Self {
        self.source.append(next.source);
        self
    }

    /// What was joined, as it was. What is written only in part is to be written again.
    pub(super) fn split(mut self, lens: &[usize]) -> impl Iterator<Item = Self> {
        let mut written = self.at.done();
        lens.iter().map(move |len| {
            let source = self.source.split_to(*len);
            let start = self.start;
            self.start = start.saturating_add(as_u64(*len));
            let mut each =
                Self { source, start, at: Cursor::default(), unit: self.unit, bounce: None };
            if written >= *len {
                each.advance(*len);
            }
            written = written.saturating_sub(*len);
            each
        })
    }

    fn advance(&mut self, n: usize) {
        let segments = self.source.segments();
        self.at.advance(n, |i| segments.get(i).map(IoBuf::len));
    }

    /// Up to where in the file all is written.
    pub(super) fn position(&self) -> u64 {
        self.start.saturating_add(as_u64(self.at.done()))
    }

    /// Takes the result of the call.
    pub(super) fn completed(&mut self, result: io::Result<usize>) -> io::Result<()> {
        let n = match result {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        };
        // A direct write cannot go on from within a block: that block is written again.
        let n = n.saturating_sub(n.checked_rem(self.unit).unwrap_or(0));
        if n == 0 {
            let message = "the file takes no more data, and says no reason";
            return Err(io::Error::new(io::ErrorKind::WriteZero, message));
        }
        self.advance(n);
        if self.at.done() >= self.source.len() {
            self.next_piece();
        }
        Ok(())
    }

    fn next_piece(&mut self) {
        let Some((pool, rest)) = self.bounce.as_deref_mut() else {
            return;
        };
        if rest.is_empty() {
            return;
        }
        self.start = self.start.saturating_add(as_u64(self.source.len()));
        self.at = Cursor::default();
        let piece = rest.split_to(PIECE);
        let mut copy = pool.get(piece.len());
        if let Some(copy) = copy.as_mut_slice() {
            piece.copy_to_slice(copy);
        }
        self.source = copy.into();
    }
}

impl Calls for Writing {
    const FILLS_HOLES: bool = true;

    fn lend(&mut self) -> Option<Transfer> {
        let (at, offset) = self.next_call().map(|call| (call.at, call.offset))?;
        let memory = Memory::Take(std::mem::take(&mut self.source));
        let last = self.bounce.as_ref().is_none_or(|bounce| bounce.1.is_empty());
        Some(Transfer { memory, at, offset, last, at_once: false })
    }

    fn give_back(&mut self, memory: Memory) {
        if let Memory::Take(source) = memory {
            self.source = source;
        }
    }

    fn completed(&mut self, result: io::Result<usize>) -> io::Result<()> {
        self.completed(result)
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

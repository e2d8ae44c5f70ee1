//! Reads and writes: what is asked, and how it is done.

use crate::args::Args;
use crate::hexdump::hexdump;
use crate::number::{parse_bytes, parse_pattern};
use crate::pattern;
use crate::stop::Stop;
use crate::text::{self, Style};
use block_backend::BlockBackend;
use block_core::{IoVec, IoVecMut, RequestFlags};
use std::io::Write;
use std::time::{Duration, Instant};

/// Longest request, as in qemu-io: a multiple of 512 below 2^31.
pub(crate) const MAX_LENGTH: u64 = 0x7fff_fe00;
/// Most lengths of a vectored request (`IOV_MAX`).
const MAX_SEGMENTS: usize = 1024;
/// What is read at once. Longer reads are made of several.
const PIECE: u64 = 4 << 20;
/// What a write is filled with unless something else is asked for.
pub(crate) const DEFAULT_PATTERN: u8 = 0xcd;

/// Which bytes a read verifies.
#[derive(Clone, Copy, Debug)]
struct Verify {
    byte: u8,
    /// Relative to the read.
    from: u64,
    len: u64,
}

/// A read, ready to be done.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest {
    name: &'static str,
    offset: u64,
    lengths: Vec<u64>,
    verify: Option<Verify>,
    dump: bool,
    style: Style,
}

#[derive(Clone, Debug)]
enum Source {
    Byte(u8),
    File(String),
    Zeroes,
}

/// A write, ready to be done.
#[derive(Clone, Debug)]
pub(crate) struct WriteRequest {
    name: &'static str,
    offset: u64,
    lengths: Vec<u64>,
    source: Source,
    flags: RequestFlags,
    style: Style,
}

pub(crate) fn style(args: &Args<'_>) -> Style {
    match (args.has('q'), args.has('C')) {
        (true, _) => Style::Quiet,
        (false, true) => Style::Compact,
        (false, false) => Style::Long,
    }
}

/// Offset and one length.
pub(crate) fn range(args: &Args<'_>) -> Result<(u64, u64), Stop> {
    let [offset, length] = args.operands.as_slice() else { return Err(Stop::Usage(None)) };
    let offset = parse_bytes(offset)?;
    Ok((offset, parse_bytes(length)?))
}

pub(crate) fn check_length(length: u64, given: &str) -> Result<(), Stop> {
    if length > MAX_LENGTH {
        return Err(Stop::Text(format!("length cannot exceed {MAX_LENGTH}, given {given}")));
    }
    Ok(())
}

/// The last operand as it was written.
pub(crate) fn last_operand<'a>(args: &Args<'a>) -> &'a str {
    args.operands.last().copied().unwrap_or_default()
}

/// Offset and one or more lengths.
pub(crate) fn vector(args: &Args<'_>, name: &'static str) -> Result<(u64, Vec<u64>), Stop> {
    let (offset, lengths) = match args.operands.as_slice() {
        [offset, lengths @ ..] if !lengths.is_empty() => (offset, lengths),
        _ => return Err(Stop::Usage(None)),
    };
    let offset = parse_bytes(offset)?;
    let mut parsed = Vec::with_capacity(lengths.len().min(MAX_SEGMENTS));
    let mut total = 0_u64;
    for text in lengths {
        let length = parse_bytes(text)?;
        if length > MAX_LENGTH {
            return Err(Stop::Text(format!("Argument '{text}' exceeds maximum size {MAX_LENGTH}")));
        }
        total = total.saturating_add(length);
        if total > MAX_LENGTH {
            return Err(Stop::Text(format!(
                "The total number of bytes exceed the maximum size {MAX_LENGTH}"
            )));
        }
        parsed.push(length);
    }
    if parsed.len() > MAX_SEGMENTS {
        return Err(Stop::Text(format!(
            "{name}: {} lengths are more than {MAX_SEGMENTS}",
            parsed.len()
        )));
    }
    Ok((offset, parsed))
}

impl ReadRequest {
    /// `read`: one length, and perhaps a part of it to verify.
    pub(crate) fn plain(args: &Args<'_>) -> Result<Self, Stop> {
        let pattern = args.value('P').map(parse_pattern).transpose()?;
        let from = args.value('s').map(parse_bytes).transpose()?;
        let len = args.value('l').map(parse_bytes).transpose()?;
        let (offset, length) = range(args)?;
        check_length(length, last_operand(args))?;
        let Some(byte) = pattern else {
            if from.is_some() || len.is_some() {
                return Err(Stop::Usage(None));
            }
            return Ok(Self::new("read", args, offset, vec![length], None));
        };
        let from = from.unwrap_or(0);
        let len = len.unwrap_or(length.saturating_sub(from));
        if from.saturating_add(len) > length {
            return Err(Stop::Text(
                "pattern verification range exceeds end of read data".to_owned(),
            ));
        }
        Ok(Self::new("read", args, offset, vec![length], Some(Verify { byte, from, len })))
    }

    /// `readv` and `aio_read`: a buffer for each length.
    pub(crate) fn vectored(args: &Args<'_>, name: &'static str) -> Result<Self, Stop> {
        let pattern = args.value('P').map(parse_pattern).transpose()?;
        let (offset, lengths) = vector(args, name)?;
        let len = lengths.iter().fold(0, |sum: u64, l| sum.saturating_add(*l));
        let verify = pattern.map(|byte| Verify { byte, from: 0, len });
        Ok(Self::new(name, args, offset, lengths, verify))
    }

    fn new(
        name: &'static str,
        args: &Args<'_>,
        offset: u64,
        lengths: Vec<u64>,
        verify: Option<Verify>,
    ) -> Self {
        // As in qemu-io, quiet is quieter than verbose.
        let dump = args.has('v') && !args.has('q');
        Self { name, offset, lengths, verify, dump, style: style(args) }
    }

    pub(crate) fn total(&self) -> u64 {
        self.lengths.iter().fold(0, |sum, l| sum.saturating_add(*l))
    }

    /// Whether it prints the bytes.
    pub(crate) fn dumps(&self) -> bool {
        self.dump
    }

    /// Reads, verifies, prints.
    pub(crate) async fn run(
        &self,
        backend: &BlockBackend,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        let failed = |e| Stop::Block(self.name, e);
        let total = self.total();
        if total == 0 || !is_acceptable(backend, self.offset, total) {
            // Refused at once with the right error: nothing is printed of the part that exists.
            let len = usize::try_from(total).unwrap_or(usize::MAX);
            backend.read(self.offset, len).await.map_err(failed)?;
        }
        let mut spent = Duration::ZERO;
        let mut mismatch = false;
        let mut done = 0_u64;
        while done < total {
            let len = total.saturating_sub(done).min(PIECE);
            let at = self.offset.saturating_add(done);
            let bufs = self.buffers(backend, total, len);
            let start = Instant::now();
            let bufs = backend.read_vectored(at, bufs).await.map_err(failed)?;
            spent = spent.saturating_add(start.elapsed());
            let bytes = bufs.into_bytes();
            if !mismatch && !self.matches(done, &bytes) {
                mismatch = true;
                self.say_mismatch(out)?;
            }
            if self.dump {
                hexdump(out, at, &bytes)?;
            }
            done = done.saturating_add(len);
        }
        let report = text::transfer(self.style, "read", (self.offset, total), spent);
        out.write_all(report.as_bytes())?;
        if mismatch { Err(Stop::Said) } else { Ok(()) }
    }

    /// Memory for a piece: as asked for, if the piece is all of the read.
    fn buffers(&self, backend: &BlockBackend, total: u64, len: u64) -> IoVecMut {
        let buffer = |len: u64| backend.buffer(usize::try_from(len).unwrap_or(0));
        if len == total {
            self.lengths.iter().map(|&len| buffer(len)).collect()
        } else {
            buffer(len).into()
        }
    }

    /// Whether a piece that begins `done` bytes into the read is what was expected.
    fn matches(&self, done: u64, bytes: &[u8]) -> bool {
        let Some(Verify { byte, from, len }) = self.verify else { return true };
        let relative = |at: u64| {
            usize::try_from(at.saturating_sub(done)).unwrap_or(usize::MAX).min(bytes.len())
        };
        let part = relative(from)..relative(from.saturating_add(len));
        bytes.get(part).is_none_or(|part| part.iter().all(|b| *b == byte))
    }

    fn say_mismatch(&self, out: &mut dyn Write) -> Result<(), Stop> {
        if let Some(Verify { from, len, .. }) = self.verify {
            let at = self.offset.saturating_add(from);
            writeln!(out, "Pattern verification failed at offset {at}, {len} bytes")?;
        }
        Ok(())
    }
}

impl WriteRequest {
    /// `write`: one length; a byte, a file or zeroes.
    pub(crate) fn plain(args: &Args<'_>) -> Result<Self, Stop> {
        let (source, flags) = Self::source(args)?;
        let (offset, length) = range(args)?;
        check_write_length(&source, flags, length, last_operand(args))?;
        Ok(Self::new("write", args, offset, vec![length], (source, flags)))
    }

    /// `writev` and `aio_write`: a buffer for each length.
    pub(crate) fn vectored(args: &Args<'_>, name: &'static str) -> Result<Self, Stop> {
        let (source, flags) = Self::source(args)?;
        if !matches!(source, Source::Zeroes) {
            let (offset, lengths) = vector(args, name)?;
            return Ok(Self::new(name, args, offset, lengths, (source, flags)));
        }
        if args.operands.len() > 2 {
            return Err(Stop::Text("-z supports only a single length parameter".to_owned()));
        }
        let (offset, length) = range(args)?;
        check_write_length(&source, flags, length, last_operand(args))?;
        Ok(Self::new(name, args, offset, vec![length], (source, flags)))
    }

    fn source(args: &Args<'_>) -> Result<(Source, RequestFlags), Stop> {
        let pattern = args.value('P').map(parse_pattern).transpose()?;
        let zeroes = args.has('z');
        let mut flags = RequestFlags::empty();
        flags.set(RequestFlags::FUA, args.has('f'));
        for (letter, flag) in [('n', RequestFlags::NO_FALLBACK), ('u', RequestFlags::MAY_UNMAP)] {
            if args.has(letter) && !zeroes {
                return Err(Stop::Text(format!("-{letter} requires -z to be specified")));
            }
            flags.set(flag, args.has(letter));
        }
        let source = match (pattern, args.value('s'), zeroes) {
            (None, None, false) => Source::Byte(DEFAULT_PATTERN),
            (Some(byte), None, false) => Source::Byte(byte),
            (None, Some(path), false) => Source::File(path.to_owned()),
            (None, None, true) => Source::Zeroes,
            _ => {
                return Err(Stop::Text(
                    "Only one of -z, -P, and -s can be specified at the same time".to_owned(),
                ));
            }
        };
        Ok((source, flags))
    }

    fn new(
        name: &'static str,
        args: &Args<'_>,
        offset: u64,
        lengths: Vec<u64>,
        (source, flags): (Source, RequestFlags),
    ) -> Self {
        Self { name, offset, lengths, source, flags, style: style(args) }
    }

    /// Writes and prints.
    pub(crate) async fn run(
        &self,
        backend: &BlockBackend,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        let total = self.lengths.iter().fold(0, |sum: u64, l| sum.saturating_add(*l));
        let (result, spent) = match &self.source {
            Source::Zeroes => {
                let start = Instant::now();
                (backend.write_zeroes(self.offset, total, self.flags).await, start.elapsed())
            }
            Source::Byte(byte) => {
                let bufs = pattern::filled(backend, *byte, &self.lengths);
                self.write(backend, bufs).await
            }
            Source::File(path) => {
                let bufs = pattern::from_file(backend, path, total).await?;
                self.write(backend, bufs).await
            }
        };
        result.map_err(|e| Stop::Block(self.name, e))?;
        let report = text::transfer(self.style, "wrote", (self.offset, total), spent);
        Ok(out.write_all(report.as_bytes())?)
    }

    async fn write(
        &self,
        backend: &BlockBackend,
        bufs: IoVec,
    ) -> (block_core::Result<()>, Duration) {
        let start = Instant::now();
        (backend.write_with(self.offset, bufs, self.flags).await, start.elapsed())
    }
}

fn check_write_length(
    source: &Source,
    flags: RequestFlags,
    length: u64,
    given: &str,
) -> Result<(), Stop> {
    match source {
        Source::Zeroes if flags.contains(RequestFlags::NO_FALLBACK) => Ok(()),
        Source::Zeroes if length > MAX_LENGTH => {
            Err(Stop::Text(format!("length cannot exceed {MAX_LENGTH} without -n, given {given}")))
        }
        _ => check_length(length, given),
    }
}

/// Whether the backend would take a read of this range.
fn is_acceptable(backend: &BlockBackend, offset: u64, len: u64) -> bool {
    let alignment = u64::from(backend.limits().request_alignment);
    let aligned = |n: u64| n.checked_rem(alignment) == Some(0);
    offset.checked_add(len).is_some_and(|end| end <= backend.length())
        && aligned(offset)
        && aligned(len)
}

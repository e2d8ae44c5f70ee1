//! What a write writes, made without holding all of it in memory.

use crate::stop::Stop;
use crate::text::strerror;
use block_backend::BlockBackend;
use block_core::{IoBuf, IoVec};
use std::fs::File;
use std::io::{self, Read};
use tokio::runtime::Handle;

/// Longest piece of memory that repeats. A write of any length costs this much.
const PIECE: u64 = 1 << 20;
/// Longest file that is repeated in a write longer than it.
const MAX_FILE: u64 = 64 << 20;

/// `lengths` bytes of one value, each length a segment of its own or several.
pub(crate) fn filled(backend: &BlockBackend, byte: u8, lengths: &[u64]) -> IoVec {
    let longest = lengths.iter().copied().max().unwrap_or(0).min(PIECE);
    let mut piece = backend.buffer(usize::try_from(longest).unwrap_or(0));
    piece.fill(byte);
    let piece = piece.freeze();
    let mut bufs = IoVec::new();
    for &length in lengths {
        repeat(&piece, length, &mut bufs);
    }
    bufs
}

/// `length` bytes: the content of a file, again and again.
pub(crate) async fn from_file(
    backend: &BlockBackend,
    path: &str,
    length: u64,
) -> Result<IoVec, Stop> {
    let limit = length.min(MAX_FILE.saturating_add(1));
    let content = read_file(path.to_owned(), limit).await.map_err(|e| {
        let reason = e.raw_os_error().map_or_else(|| e.to_string(), strerror);
        Stop::Text(format!("{path}: {reason}"))
    })?;
    let found = u64::try_from(content.len()).unwrap_or(u64::MAX);
    if found == 0 && length > 0 {
        return Err(Stop::Text(format!("{path}: file is empty")));
    }
    if found > MAX_FILE {
        return Err(Stop::Text(format!(
            "{path}: only the first {MAX_FILE} bytes of a file can be used, and {length} are needed"
        )));
    }
    // Whole repetitions, until the piece is long enough that a few of them make a long write.
    let times = PIECE.checked_div(found).unwrap_or(0).max(1);
    let piece_len = found.saturating_mul(times).min(length);
    let mut piece = backend.buffer(usize::try_from(piece_len).unwrap_or(0));
    if let Some(bytes) = piece.as_mut_slice() {
        for chunk in bytes.chunks_mut(content.len().max(1)) {
            let n = chunk.len();
            chunk.copy_from_slice(content.get(..n).unwrap_or_default());
        }
    }
    let mut bufs = IoVec::new();
    repeat(&piece.freeze(), length, &mut bufs);
    Ok(bufs)
}

/// Adds `length` bytes made of `piece`.
fn repeat(piece: &IoBuf, length: u64, to: &mut IoVec) {
    let mut left = length;
    while left > 0 && !piece.is_empty() {
        let mut next = piece.clone();
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        to.push(next.split_to(n));
        left = left.saturating_sub(u64::try_from(n).unwrap_or(left));
    }
}

async fn read_file(path: String, limit: u64) -> io::Result<Vec<u8>> {
    let read = move || {
        let mut content = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut content).map(|_| content)
    };
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(read).await.map_err(io::Error::other)?,
        Err(_) => read(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn null() -> BlockBackend {
        BlockBackend::open("driver=null,size=1M").await.unwrap()
    }

    #[tokio::test]
    async fn a_fill_has_a_segment_for_each_length_and_shares_its_memory() {
        let bufs = filled(&null().await, 7, &[3, 0, 5]);
        assert_eq!(bufs.segments().len(), 2);
        assert_eq!(bufs.to_vec(), [7; 8]);
        let large = filled(&null().await, 7, &[2 << 30]);
        assert_eq!(large.len(), 2 << 30);
        assert_eq!(large.segments().len(), 2048);
        assert!(filled(&null().await, 7, &[]).is_empty());
    }

    #[tokio::test]
    async fn a_file_repeats() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let text = path.to_str().unwrap();
        std::fs::write(&path, b"abc").unwrap();
        let null = null().await;
        assert_eq!(from_file(&null, text, 7).await.unwrap().to_vec(), b"abcabca");
        let long = from_file(&null, text, 3 << 20).await.unwrap().to_vec();
        assert!(long.iter().zip(b"abc".iter().cycle()).all(|(a, b)| a == b));
        assert_eq!(long.len(), 3 << 20);
        assert!(from_file(&null, text, 0).await.unwrap().is_empty());
        std::fs::write(&path, b"").unwrap();
        for (path, message) in [(text, "file is empty"), ("/no/such", "No such file or directory")]
        {
            let Err(Stop::Text(said)) = from_file(&null, path, 7).await else { panic!() };
            assert_eq!(said, format!("{path}: {message}"));
        }
    }
}

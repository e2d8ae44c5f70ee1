//! What all metadata pages have in common: little-endian fields and a checksum at the end.

use super::layout::PAGE_LEN;

const CRC_AT: usize = PAGE_LEN - 4;

/// Why a page is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageFault {
    #[error("it is not there: the magic is missing")]
    Magic,
    #[error("its checksum does not match its content")]
    Checksum,
    #[error("it belongs to another image")]
    Image,
    #[error("it belongs to another place")]
    Place,
    #[error("its content makes no sense")]
    Content,
}

/// The slot, 0 or 1, in which the page with this sequence number lies.
pub(crate) const fn slot_of(sequence: u64) -> usize {
    if sequence.is_multiple_of(2) { 0 } else { 1 }
}

/// Reads a sequence number. No image lives long enough to reach the numbers that are refused; one
/// that claims them could never be written again.
pub(crate) fn read_sequence(fields: &mut Decoder<'_>) -> Result<u64, PageFault> {
    let sequence = fields.u64();
    if sequence > u64::MAX / 2 { Err(PageFault::Content) } else { Ok(sequence) }
}

/// Whether a page with this number can be read, but leaves too little room for more of them. No
/// image gets there by itself: 2^62 commits take longer than anything lasts.
pub(crate) const fn is_used_up(sequence: u64) -> bool {
    sequence >= 1 << 62
}

/// A page being written.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn new(magic: &[u8; 8]) -> Self {
        let mut page = Vec::with_capacity(PAGE_LEN);
        page.extend_from_slice(magic);
        Self(page)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Fills up with zeroes and adds the checksum.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(CRC_AT, 0);
        let crc = crc32c::crc32c(&self.0);
        self.u32(crc);
        self.0
    }
}

/// A page being read: fields in order. Reading past the end gives zeroes, which no caller does.
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Checks magic and checksum.
    pub(crate) fn new(page: &'a [u8], magic: &[u8; 8]) -> Result<Self, PageFault> {
        let body = page.strip_prefix(magic).ok_or(PageFault::Magic)?;
        Self::check_sum(page)?;
        Ok(Self(body))
    }

    /// Checks the magic only, for fields that decide whether the rest can be understood at all.
    pub(crate) fn unchecked(page: &'a [u8], magic: &[u8; 8]) -> Result<Self, PageFault> {
        page.strip_prefix(magic).map(Self).ok_or(PageFault::Magic)
    }

    pub(crate) fn check_sum(page: &[u8]) -> Result<(), PageFault> {
        match page.split_last_chunk::<4>() {
            Some((content, crc))
                if page.len() == PAGE_LEN
                    && crc32c::crc32c(content) == u32::from_le_bytes(*crc) =>
            {
                Ok(())
            }
            _ => Err(PageFault::Checksum),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Whether everything up to the checksum is zero, as reserved bytes must be.
    pub(crate) fn rest_is_zero(&self) -> bool {
        self.0.split_last_chunk::<4>().is_some_and(|(rest, _)| rest.iter().all(|b| *b == 0))
    }
}

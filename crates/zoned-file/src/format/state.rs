//! The state page: whether the image was closed cleanly.

use super::page::{Decoder, Encoder, PageFault, read_sequence, slot_of};

const MAGIC: &[u8; 8] = b"ZBLKSTAT";
const CLEAN: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatePage {
    pub(crate) sequence: u64,
    pub(crate) clean: bool,
}

impl StatePage {
    pub(crate) fn encode(&self, short_id: u64) -> Vec<u8> {
        let mut page = Encoder::new(MAGIC);
        page.u64(short_id);
        page.u64(self.sequence);
        page.u64(if self.clean { CLEAN } else { 0 });
        page.finish()
    }

    pub(crate) fn decode(page: &[u8], short_id: u64, slot: usize) -> Result<Self, PageFault> {
        let mut fields = Decoder::new(page, MAGIC)?;
        if fields.u64() != short_id {
            return Err(PageFault::Image);
        }
        let sequence = read_sequence(&mut fields)?;
        if slot_of(sequence) != slot {
            return Err(PageFault::Place);
        }
        let flags = fields.u64();
        if flags & !CLEAN != 0 || !fields.rest_is_zero() {
            return Err(PageFault::Content);
        }
        Ok(Self { sequence, clean: flags & CLEAN != 0 })
    }
}

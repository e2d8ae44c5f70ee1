//! Zone reports as those behind a door read them. The two layouts hold the same facts in different
//! bytes, so each is a module of its own. Positions in both are in sectors of 512 bytes.

pub mod linux;
pub mod virtio;

use crate::SECTOR;

/// Bytes of one zone's descriptor, in both layouts.
pub const DESCRIPTOR: usize = 64;

fn sectors(bytes: u64) -> u64 {
    // SECTOR is not zero.
    bytes.checked_div(SECTOR).unwrap_or(0)
}

/// Where a zone's write pointer has no meaning, all ones, as NVMe and SCSI devices say it.
fn write_pointer(zone: &block_core::Zone) -> u64 {
    zone.write_pointer.map_or(u64::MAX, sectors)
}

/// Puts bytes at a fixed position of a descriptor.
fn put<const N: usize>(into: &mut [u8; DESCRIPTOR], at: usize, bytes: [u8; N]) {
    for (to, from) in into.iter_mut().skip(at).zip(bytes) {
        *to = from;
    }
}

//! The fixed parts of a request (virtio 1.3, 5.2.6).

use block_export::SECTOR;
use virtio_bindings::virtio_blk as raw;

/// Bytes of the header: type, reserved, sector.
pub(crate) const HEADER: u64 = 16;
/// Bytes of one range of a discard or write-zeroes request.
pub(crate) const RANGE: u64 = 16;

/// What a driver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    In,
    Out,
    Flush,
    GetId,
    Discard,
    WriteZeroes,
    ZoneAppend,
    ZoneReport,
    ZoneOpen,
    ZoneClose,
    ZoneFinish,
    ZoneReset,
    ZoneResetAll,
}

impl Type {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            raw::VIRTIO_BLK_T_IN => Self::In,
            raw::VIRTIO_BLK_T_OUT => Self::Out,
            raw::VIRTIO_BLK_T_FLUSH => Self::Flush,
            raw::VIRTIO_BLK_T_GET_ID => Self::GetId,
            raw::VIRTIO_BLK_T_DISCARD => Self::Discard,
            raw::VIRTIO_BLK_T_WRITE_ZEROES => Self::WriteZeroes,
            raw::VIRTIO_BLK_T_ZONE_APPEND => Self::ZoneAppend,
            raw::VIRTIO_BLK_T_ZONE_REPORT => Self::ZoneReport,
            raw::VIRTIO_BLK_T_ZONE_OPEN => Self::ZoneOpen,
            raw::VIRTIO_BLK_T_ZONE_CLOSE => Self::ZoneClose,
            raw::VIRTIO_BLK_T_ZONE_FINISH => Self::ZoneFinish,
            raw::VIRTIO_BLK_T_ZONE_RESET => Self::ZoneReset,
            raw::VIRTIO_BLK_T_ZONE_RESET_ALL => Self::ZoneResetAll,
            _ => return None,
        })
    }

    /// Whether such requests exist only for a driver that accepted `VIRTIO_BLK_F_ZONED`.
    pub(crate) const fn is_zoned(self) -> bool {
        matches!(
            self,
            Self::ZoneAppend
                | Self::ZoneReport
                | Self::ZoneOpen
                | Self::ZoneClose
                | Self::ZoneFinish
                | Self::ZoneReset
                | Self::ZoneResetAll
        )
    }
}

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `None` for a type that this device does not know.
    pub(crate) kind: Option<Type>,
    /// First byte, where the type has a position; `None` if it does not fit 64 bits.
    pub(crate) offset: Option<u64>,
}

impl Header {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let (code, sector) = (field(&bytes, 0), field(&bytes, 8));
        Self {
            kind: Type::from_code(u32::from_le_bytes(code)),
            offset: u64::from_le_bytes(sector).checked_mul(SECTOR),
        }
    }
}

/// One range of a discard or write-zeroes request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// First byte; `None` if it does not fit 64 bits.
    pub(crate) offset: Option<u64>,
    pub(crate) len: u64,
    pub(crate) unmap: bool,
    /// Flags that no standard defines.
    pub(crate) unknown_flags: bool,
}

impl Range {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let (sector, sectors, flags) = (field(&bytes, 0), field(&bytes, 8), field(&bytes, 12));
        let flags = u32::from_le_bytes(flags);
        Self {
            offset: u64::from_le_bytes(sector).checked_mul(SECTOR),
            len: u64::from(u32::from_le_bytes(sectors)).saturating_mul(SECTOR),
            unmap: flags & 1 != 0,
            unknown_flags: flags & !1 != 0,
        }
    }
}

fn field<const N: usize>(bytes: &[u8; 16], at: usize) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_those_of_the_standard() {
        let known: Vec<u32> =
            (0..=u32::from(u16::MAX)).filter(|code| Type::from_code(*code).is_some()).collect();
        assert_eq!(known, [0, 1, 4, 8, 11, 13, 15, 16, 18, 20, 22, 24, 26]);
        let zoned = |code: &u32| Type::from_code(*code).is_some_and(Type::is_zoned);
        assert!(known.iter().all(|code| zoned(code) == (*code >= 15)));
    }

    #[test]
    fn a_header_is_read_as_it_lies() {
        let mut bytes = [0; 16];
        bytes[0] = 16;
        bytes[4..8].copy_from_slice(&[0xff; 4]);
        bytes[8..10].copy_from_slice(&[2, 1]);
        let header = Header::from_bytes(bytes);
        assert_eq!(header, Header { kind: Some(Type::ZoneReport), offset: Some(0x102 * 512) });
        bytes[8..].copy_from_slice(&(u64::MAX / 512 + 1).to_le_bytes());
        bytes[3] = 0x80;
        assert_eq!(Header::from_bytes(bytes), Header { kind: None, offset: None });
    }

    #[test]
    fn a_range_is_read_as_it_lies() {
        let mut bytes = [0; 16];
        bytes[0] = 3;
        bytes[8..12].copy_from_slice(&[0xff; 4]);
        bytes[12] = 1;
        let range = Range::from_bytes(bytes);
        let len = u64::from(u32::MAX) * 512;
        assert_eq!((range.offset, range.len, range.unmap), (Some(1536), len, true));
        assert!(!range.unknown_flags);
        bytes[15] = 1;
        assert!(Range::from_bytes(bytes).unknown_flags);
    }
}

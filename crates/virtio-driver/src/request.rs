//! Types and statuses of requests (virtio 1.3, 5.2.6), written down once more: tests take no
//! implementation's word for them.

/// `VIRTIO_BLK_T_*`.
pub mod kind {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Make durable.
    pub const FLUSH: u32 = 4;
    /// Tell the serial number.
    pub const GET_ID: u32 = 8;
    /// Tell how worn the medium is.
    pub const GET_LIFETIME: u32 = 10;
    /// Forget ranges.
    pub const DISCARD: u32 = 11;
    /// Zero ranges.
    pub const WRITE_ZEROES: u32 = 13;
    /// Forget ranges beyond recovery.
    pub const SECURE_ERASE: u32 = 14;
    /// Write where the zone's write pointer is.
    pub const APPEND: u32 = 15;
    /// Tell of zones.
    pub const REPORT: u32 = 16;
    /// Open a zone.
    pub const OPEN: u32 = 18;
    /// Close a zone.
    pub const CLOSE: u32 = 20;
    /// Make a zone full.
    pub const FINISH: u32 = 22;
    /// Empty a zone.
    pub const RESET: u32 = 24;
    /// Empty all zones.
    pub const RESET_ALL: u32 = 26;
}

/// `VIRTIO_BLK_S_*`.
pub mod told {
    /// Done.
    pub const OK: u8 = 0;
    /// Failed.
    pub const IOERR: u8 = 1;
    /// Not known here.
    pub const UNSUPP: u8 = 2;
    /// Not of these zones.
    pub const INVALID: u8 = 3;
    /// Not at the write pointer, or of a wrong length.
    pub const UNALIGNED: u8 = 4;
    /// Too many open zones.
    pub const OPEN_RESOURCE: u8 = 5;
    /// Too many active zones.
    pub const ACTIVE_RESOURCE: u8 = 6;
}

//! The immutable shape of a zoned device: where zones lie and how much of each can be written.

use block_core::{ErrorKind, ZoneId, ZoneType, ZonedLimits, ZonedModel};
use std::ops::Range;

/// Most zones that a [`Geometry`] may have.
///
/// A model holds all its zones in memory; this bound keeps a hostile geometry from asking for more
/// than it can get. It is 8 times what a 64 TiB disk with 256 MiB zones has, and an open image of
/// that many zones takes some 300 MiB.
pub const MAX_ZONES: u64 = 1 << 21;

/// Largest size of a device in bytes: what a file offset (`off_t`) can express.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// What a zoned device is to look like, not yet validated. [`Geometry::new`] validates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GeometryConfig {
    /// Size of the device in bytes, a multiple of the block size. If it is not a multiple of the
    /// zone size, the last zone is smaller.
    pub size: u64,
    /// Distance between zone starts in bytes: any multiple of the block size, not only powers of
    /// two.
    pub zone_size: u64,
    /// Writable bytes from the start of each sequential zone; `None` = the whole zone. (ZNS: zone
    /// capacity.)
    pub zone_capacity: Option<u64>,
    /// How many zones, from the first on, are conventional. All others are sequential-write-required.
    pub conventional: u64,
    /// Granularity of all writes, in bytes: a power of two from 512 to 65536.
    pub block_size: u32,
    /// Most zones that may be open at once; 0 = no limit of its own (then `max_active` is the
    /// limit, as an open zone is active). May exceed the number of sequential zones.
    pub max_open: u32,
    /// Most zones that may be active (open or closed) at once; 0 = no limit. May exceed the number
    /// of sequential zones.
    pub max_active: u32,
}

impl Default for GeometryConfig {
    /// 1 GiB in zones of 16 MiB, all sequential and writable to their ends, 4 KiB blocks, no
    /// limits.
    fn default() -> Self {
        Self {
            size: 1 << 30,
            zone_size: 16 << 20,
            zone_capacity: None,
            conventional: 0,
            block_size: 4096,
            max_open: 0,
            max_active: 0,
        }
    }
}

/// A validated [`GeometryConfig`]. Every position computed from it fits a file offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    config: GeometryConfig,
    nr_zones: u64,
    max_append: u64,
}

/// Where one zone lies. Values in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneSpan {
    /// Position in the device's list of zones, from 0.
    pub index: u64,
    /// First byte of the zone.
    pub start: u64,
    /// Distance to the end of the zone: the zone size, or the rest of the device for a smaller
    /// last zone.
    pub length: u64,
    /// How much of `length` can be written, from `start` on. Equals `length` for conventional
    /// zones.
    pub capacity: u64,
    /// Conventional or sequential-write-required.
    pub zone_type: ZoneType,
}

impl ZoneSpan {
    /// The zone's name for an error.
    pub const fn id(&self) -> ZoneId {
        ZoneId { index: self.index, start: self.start }
    }

    /// First byte after the zone.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// First byte that cannot be written: the end of the capacity.
    pub const fn writable_end(&self) -> u64 {
        self.start.saturating_add(self.capacity)
    }

    /// Whether the zone has a write pointer.
    pub const fn is_sequential(&self) -> bool {
        self.zone_type.is_sequential()
    }
}

impl Geometry {
    /// Validates a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], naming what is wrong and why: a block size that is not a power
    /// of two in 512..=65536; a size, zone size or capacity that is 0 or not a multiple of the
    /// block size; a size or zone size above `i64::MAX`; a capacity above the zone size; more than
    /// [`MAX_ZONES`] zones; more conventional zones than zones; `max_open` above a `max_active`
    /// that is not 0.
    pub fn new(config: &GeometryConfig) -> Result<Self, ErrorKind> {
        check_block_size(config.block_size)?;
        check_extent("size", config.size, config.block_size)?;
        check_extent("zone size", config.zone_size, config.block_size)?;
        if let Some(capacity) = config.zone_capacity {
            check_extent("zone capacity", capacity, config.block_size)?;
            if capacity > config.zone_size {
                return Err(invalid(format!(
                    "zone capacity {capacity:#x} is above the zone size {:#x}",
                    config.zone_size
                )));
            }
        }
        let nr_zones = config.size.div_ceil(config.zone_size);
        if nr_zones > MAX_ZONES {
            return Err(invalid(format!(
                "size {:#x} makes {nr_zones} zones of {:#x}: at most {MAX_ZONES} are possible",
                config.size, config.zone_size
            )));
        }
        if config.conventional > nr_zones {
            return Err(invalid(format!(
                "{} conventional zones are more than the {nr_zones} zones of the device",
                config.conventional
            )));
        }
        if config.max_active != 0 && config.max_open > config.max_active {
            return Err(invalid(format!(
                "max open {} is above max active {}: an open zone is active",
                config.max_open, config.max_active
            )));
        }
        Ok(Self { config: *config, nr_zones, max_append: 0 })
    }

    /// The same geometry with a limit on the length of one zone append, in bytes; 0 = no limit
    /// beyond the zone's capacity (the default). ZNS: zone append size limit.
    #[must_use]
    pub const fn with_max_append(mut self, bytes: u64) -> Self {
        self.max_append = bytes;
        self
    }

    /// The configuration as it was given.
    pub const fn config(&self) -> GeometryConfig {
        self.config
    }

    /// Size of the device in bytes.
    pub const fn size(&self) -> u64 {
        self.config.size
    }

    /// Distance between zone starts in bytes.
    pub const fn zone_size(&self) -> u64 {
        self.config.zone_size
    }

    /// Writable bytes of a sequential zone that is not cut short by the end of the device.
    pub const fn zone_capacity(&self) -> u64 {
        match self.config.zone_capacity {
            Some(capacity) => capacity,
            None => self.config.zone_size,
        }
    }

    /// Number of zones, a smaller last one included.
    pub const fn nr_zones(&self) -> u64 {
        self.nr_zones
    }

    /// Number of conventional zones; they come first.
    pub const fn conventional(&self) -> u64 {
        self.config.conventional
    }

    /// Granularity of writes in bytes.
    pub const fn block_size(&self) -> u32 {
        self.config.block_size
    }

    /// What the device tells its users: host-managed, and the limits that are in force. A
    /// `max_open` of 0 beside a `max_active` shows as that `max_active`.
    pub const fn limits(&self) -> ZonedLimits {
        ZonedLimits {
            model: ZonedModel::HostManaged,
            zone_size: self.config.zone_size,
            nr_zones: self.nr_zones,
            max_open_zones: match self.config.max_open {
                0 => self.config.max_active,
                limit => limit,
            },
            max_active_zones: self.config.max_active,
            max_append_bytes: self.max_append,
            write_granularity: self.config.block_size,
        }
    }

    /// The zone that holds this byte; `None` at or past the end of the device.
    pub fn index_of(&self, offset: u64) -> Option<u64> {
        if offset >= self.config.size {
            return None;
        }
        offset.checked_div(self.config.zone_size)
    }

    /// Where the zone with this index lies; `None` if there is no such zone.
    pub fn span(&self, index: u64) -> Option<ZoneSpan> {
        if index >= self.nr_zones {
            return None;
        }
        let start = index.checked_mul(self.config.zone_size)?;
        let length = self.config.zone_size.min(self.config.size.checked_sub(start)?);
        let (zone_type, capacity) = if index < self.config.conventional {
            (ZoneType::Conventional, length)
        } else {
            let capacity = self.zone_capacity().min(length);
            (ZoneType::SequentialWriteRequired, capacity)
        };
        Some(ZoneSpan { index, start, length, capacity, zone_type })
    }

    /// Where the zone that holds this byte lies; `None` at or past the end of the device.
    pub fn span_at(&self, offset: u64) -> Option<ZoneSpan> {
        self.span(self.index_of(offset)?)
    }

    /// First byte after the conventional zones.
    pub fn conventional_end(&self) -> u64 {
        let end = self.config.conventional.saturating_mul(self.config.zone_size);
        end.min(self.config.size)
    }

    /// The zones of a management request that is given in bytes (Linux, QEMU).
    ///
    /// # Errors
    /// Checked in this order:
    /// - [`ErrorKind::Misaligned`] (`zone offset`): `offset` is not the start of a zone;
    /// - [`ErrorKind::Misaligned`] (`length`): `len` is 0;
    /// - [`ErrorKind::OutOfRange`]: the range reaches past the end of the device, or overflows;
    /// - [`ErrorKind::Misaligned`] (`length`): `len` is not a multiple of the zone size, and the
    ///   range does not end where the device ends.
    pub fn zone_range(&self, offset: u64, len: u64) -> Result<Range<u64>, ErrorKind> {
        let zone_size = self.config.zone_size;
        if !offset.is_multiple_of(zone_size) {
            return Err(misaligned("zone offset", offset, zone_size));
        }
        if len == 0 {
            return Err(misaligned("length", len, zone_size));
        }
        let end = self.end_of(offset, len)?;
        if end != self.config.size && !len.is_multiple_of(zone_size) {
            return Err(misaligned("length", len, zone_size));
        }
        let first = offset.checked_div(zone_size).unwrap_or(0);
        Ok(first..end.div_ceil(zone_size))
    }

    /// The end of a range of bytes, if it lies on the device.
    pub(crate) fn end_of(&self, offset: u64, len: u64) -> Result<u64, ErrorKind> {
        match offset.checked_add(len) {
            Some(end) if end <= self.config.size => Ok(end),
            _ => Err(self.out_of_range()),
        }
    }

    pub(crate) const fn out_of_range(&self) -> ErrorKind {
        ErrorKind::OutOfRange { length: self.config.size }
    }
}

pub(crate) const fn misaligned(what: &'static str, given: u64, required: u64) -> ErrorKind {
    ErrorKind::Misaligned { what, given, required }
}

fn invalid(message: String) -> ErrorKind {
    ErrorKind::InvalidOption(message)
}

fn check_block_size(block_size: u32) -> Result<(), ErrorKind> {
    if block_size.is_power_of_two() && (512..=65536).contains(&block_size) {
        return Ok(());
    }
    Err(invalid(format!("block size {block_size} is not a power of two from 512 to 65536")))
}

fn check_extent(what: &str, bytes: u64, block_size: u32) -> Result<(), ErrorKind> {
    if bytes == 0 {
        return Err(invalid(format!("{what} is 0")));
    }
    if bytes > MAX_SIZE {
        return Err(invalid(format!(
            "{what} {bytes:#x} is above the largest file offset {MAX_SIZE:#x}"
        )));
    }
    if !bytes.is_multiple_of(u64::from(block_size)) {
        return Err(invalid(format!(
            "{what} {bytes:#x} is not a multiple of the block size {block_size}"
        )));
    }
    Ok(())
}

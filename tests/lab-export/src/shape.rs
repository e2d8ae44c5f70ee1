//! What the devices look like.

/// A device's geometry; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub name: &'static str,
    pub zones: u64,
    pub zone_size: u64,
    pub zone_capacity: u64,
    pub conventional: u64,
    pub max_open: u32,
    pub max_active: u32,
    pub block_size: u32,
}

const MIB: u64 = 1 << 20;

/// The least that btrfs takes: zones of 4 MiB, of which eight may be active.
const SMALL_BLOCKS: Shape = Shape {
    name: "512",
    zones: 64,
    zone_size: 4 * MIB,
    zone_capacity: 4 * MIB,
    conventional: 0,
    max_open: 12,
    max_active: 16,
    block_size: 512,
};

/// Every kind of zone that a guest can meet.
pub const ALL: [Shape; 3] = [
    SMALL_BLOCKS,
    Shape { name: "512-conventional", conventional: 8, ..SMALL_BLOCKS },
    Shape {
        name: "4k-short",
        conventional: 8,
        zone_capacity: 3 * MIB,
        block_size: 4096,
        ..SMALL_BLOCKS
    },
];

impl Shape {
    pub fn length(&self) -> u64 {
        self.zones * self.zone_size
    }

    /// Where a zone begins.
    pub fn start(&self, zone: u64) -> u64 {
        zone * self.zone_size
    }

    /// The number of the `n`th sequential zone.
    pub fn sequential(&self, n: u64) -> u64 {
        self.conventional + n
    }

    pub fn is_conventional(&self, zone: u64) -> bool {
        zone < self.conventional
    }
}

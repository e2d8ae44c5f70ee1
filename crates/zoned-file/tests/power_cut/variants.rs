//! The devices that are tried: small, so that a cut costs little.

use power_cut::Rng;
use zone_model::Geometry;
use zoned_file::GeometryConfig;

pub struct Variant {
    pub name: &'static str,
    config: GeometryConfig,
    pub read_only_zones: Vec<u64>,
}

const KIB: u64 = 1024;

const PLAIN: GeometryConfig = GeometryConfig {
    size: 512 * KIB,
    zone_size: 64 * KIB,
    zone_capacity: None,
    conventional: 0,
    block_size: 4096,
    max_open: 0,
    max_active: 0,
};

pub fn all() -> Vec<Variant> {
    let variant = |name, config| Variant { name, config, read_only_zones: Vec::new() };
    vec![
        variant("8 zones of 64 KiB", PLAIN),
        variant(
            "small capacity, conventional zones, smaller last zone, limits",
            GeometryConfig {
                size: 8 * 32 * KIB + 12 * KIB,
                zone_size: 32 * KIB,
                zone_capacity: Some(20 * KIB),
                conventional: 2,
                max_open: 2,
                max_active: 3,
                ..PLAIN
            },
        ),
        variant(
            "blocks of 512 bytes, zones of an odd size",
            GeometryConfig {
                size: 6 * 3584 + 1024,
                zone_size: 3584,
                zone_capacity: Some(3072),
                conventional: 1,
                block_size: 512,
                ..PLAIN
            },
        ),
        variant(
            "300 zones in two pages",
            GeometryConfig {
                size: 300 * 2048,
                zone_size: 2048,
                conventional: 1,
                block_size: 512,
                ..PLAIN
            },
        ),
        Variant {
            read_only_zones: vec![2],
            ..variant(
                "a read-only zone",
                GeometryConfig { size: 128 * KIB, zone_size: 32 * KIB, ..PLAIN },
            )
        },
    ]
}

impl Variant {
    pub fn config(&self) -> GeometryConfig {
        self.config
    }

    pub fn geometry(&self) -> Geometry {
        Geometry::new(&self.config).unwrap()
    }

    /// A few zones for a workload to use; of many zones, some of each page.
    pub fn zones(&self, rng: &mut Rng) -> Vec<usize> {
        let geometry = self.geometry();
        let first = geometry.conventional();
        let mut zones: Vec<u64> = (first..geometry.nr_zones()).collect();
        if zones.len() > 20 {
            zones = vec![first, first + 1, 251, 252, 253, 254, geometry.nr_zones() - 1];
        }
        rng.shuffle(&mut zones);
        zones.truncate(2 + rng.below(4) as usize);
        zones.into_iter().map(|z| usize::try_from(z).unwrap()).collect()
    }
}

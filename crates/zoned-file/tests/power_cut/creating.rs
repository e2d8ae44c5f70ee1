//! The power is cut while an image is made: there is none then, or the whole one. What was there
//! before is whole, or gone.

use crate::common;
use crate::observe::observe;
use crate::sectors::{SECTOR, Tag, data};
use crate::variants::{self, Variant};
use crate::workload::runtime;
use block_core::{ErrorKind, RequestFlags};
use power_cut::{Content, PowerCutDisk, Rng};

#[test]
fn an_image_that_is_being_made_is_there_or_is_not() {
    let (mut none, mut whole) = (0, 0);
    for variant in variants::all() {
        // On nothing, on noise, and over another image.
        let mut noise = Content::new(1 << 21);
        for sector in 0..(1 << 12) {
            noise.write(sector * SECTOR as u64, &[0xA5; SECTOR]);
        }
        let old = old_image(&variant);
        for (seed, before) in [Content::new(0), noise, old].into_iter().enumerate() {
            for round in 0..4 {
                let made = cut_everywhere(&variant, before.clone(), round * 10 + seed as u64);
                none += made.0;
                whole += made.1;
            }
        }
    }
    eprintln!("cuts while an image was made: {none} without an image, {whole} with one");
    assert!(none > 500 && whole > 100, "{none} {whole}");
}

/// An image with data in its last zone.
fn old_image(variant: &Variant) -> Content {
    let made = async {
        let disk = PowerCutDisk::new(common::new_image(variant.config()).await, 1);
        let node = common::open(&disk, false).await.unwrap();
        let (zone, block) = (variant.geometry().nr_zones() - 1, variant.config().block_size);
        let start = zone * variant.config().zone_size;
        let bufs = data(1, u64::from(block) / SECTOR as u64).into();
        node.append(start, bufs, RequestFlags::FUA).await.unwrap();
        node.close().await.unwrap();
        disk.live()
    };
    runtime().block_on(made)
}

/// What can be read of the image on a disk.
fn sectors(content: Content) -> Result<Vec<Vec<Tag>>, block_core::Error> {
    runtime().block_on(async {
        let node = common::open(&PowerCutDisk::new(content, 1), false).await?;
        Ok(observe(&node, true).await.unwrap().sectors)
    })
}

fn cut_everywhere(variant: &Variant, before: Content, seed: u64) -> (usize, usize) {
    let old = sectors(before.clone()).ok();
    let disk = PowerCutDisk::new(before, seed);
    let made = common::create(&disk, variant.config(), variant.read_only_zones.clone());
    runtime().block_on(made).unwrap();
    let mut rng = Rng::new(seed);
    let (mut none, mut whole) = (0, 0);
    for point in 0..=disk.points() {
        for _ in 0..4 {
            match sectors(disk.after_cut(point, &mut rng)) {
                Ok(seen) => {
                    whole += 1;
                    let empty = |tags: &Vec<Tag>| tags.iter().all(|t| *t == Tag::Zero);
                    let new = seen.iter().all(empty);
                    assert!(new || Some(&seen) == old.as_ref(), "{}, {point}", variant.name);
                    assert!(new || point < disk.points(), "it is still the old image");
                    assert_eq!(seen.len() as u64, variant.geometry().nr_zones());
                }
                Err(error) => {
                    none += 1;
                    let invalid = matches!(error.kind(), ErrorKind::InvalidImage(_));
                    assert!(invalid, "{}, {point}: {error}", variant.name);
                    assert!(point < disk.points(), "it was promised: {error}");
                }
            }
        }
    }
    (none, whole)
}

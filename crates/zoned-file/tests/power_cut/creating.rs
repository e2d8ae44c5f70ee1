//! The power is cut while an image is made: there is none then, or the whole one.

use crate::common;
use crate::observe::observe;
use crate::sectors::{SECTOR, Tag};
use crate::variants::{self, Variant};
use crate::workload::runtime;
use block_core::ErrorKind;
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
        let old = runtime().block_on(common::new_image(variant.config()));
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

fn cut_everywhere(variant: &Variant, before: Content, seed: u64) -> (usize, usize) {
    let runtime = runtime();
    let disk = PowerCutDisk::new(before, seed);
    let made = common::create(&disk, variant.config(), variant.read_only_zones.clone());
    runtime.block_on(made).unwrap();
    let mut rng = Rng::new(seed);
    let (mut none, mut whole) = (0, 0);
    for point in 0..=disk.points() {
        for _ in 0..4 {
            let after = PowerCutDisk::new(disk.after_cut(point, &mut rng), 1);
            match runtime.block_on(common::open(&after, false)) {
                Ok(node) => {
                    whole += 1;
                    let seen = runtime.block_on(observe(&node, true)).unwrap();
                    let empty = |tags: &Vec<Tag>| tags.iter().all(|t| *t == Tag::Zero);
                    assert!(seen.sectors.iter().all(empty), "{}, {point}", variant.name);
                    assert_eq!(seen.zones.len() as u64, variant.geometry().nr_zones());
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

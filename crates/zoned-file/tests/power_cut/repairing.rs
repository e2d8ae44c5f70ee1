//! The power is cut while an image is repaired: the next repair does the rest, and nothing is lost
//! that could be saved before.

use crate::common;
use crate::observe::{Observed, observe};
use crate::sectors::{SECTOR, data};
use crate::variants::{self, Variant};
use crate::workload::runtime;
use block_core::{Node, RequestFlags, ZoneOp};
use power_cut::{Content, PowerCutDisk, Rng};

const PAGE: u64 = 4096;
const HEADERS: [u64; 2] = [0, 64 << 10];
const STATES: [u64; 2] = [4 << 10, 68 << 10];
const TABLE: u64 = 128 << 10;
const CUTS: usize = 3;

/// What is damaged: each is a list of pages.
fn damages(pages: u64) -> Vec<Vec<u64>> {
    let even = |page: u64| TABLE + page * PAGE;
    let odd = |page: u64| TABLE + (pages + page) * PAGE;
    let last = pages - 1;
    let mut all = vec![
        vec![even(0)],
        vec![odd(last)],
        vec![HEADERS[0], STATES[0], even(0), odd(last)],
        vec![HEADERS[1], STATES[1], odd(0), even(last)],
        STATES.to_vec(),
        // No good copy: its zones are made readable as a whole.
        vec![even(0), odd(0)],
        vec![HEADERS[1], STATES[0], STATES[1], even(last), odd(last)],
    ];
    // Of a table with one page, the third and fourth damage both of its copies too.
    all.dedup();
    all
}

/// An image that was used, closed or not.
fn used_image(variant: &Variant, closed: bool) -> Content {
    runtime().block_on(async {
        let disk = PowerCutDisk::new(common::new_image(variant.config()).await, 1);
        let node = common::open(&disk, false).await.unwrap();
        let (config, geometry) = (variant.config(), variant.geometry());
        let zones = [geometry.conventional(), geometry.nr_zones() - 1];
        let sectors = u64::from(config.block_size) / SECTOR as u64;
        for (id, zone) in (1..).zip([zones[0], zones[1], zones[0]]) {
            let bufs = data(id, sectors).into();
            node.append(zone * config.zone_size, bufs, RequestFlags::FUA).await.unwrap();
        }
        let second = (zones[0] + 1) * config.zone_size;
        node.manage_zones(ZoneOp::Finish, second, config.zone_size).await.unwrap();
        if closed {
            node.close().await.unwrap();
        }
        drop(node);
        disk.durable_at(disk.points())
    })
}

fn damaged(image: &Content, pages: &[u64]) -> Content {
    let mut content = image.clone();
    for (number, page) in (1..).zip(pages) {
        let at = page + 40 * number;
        content.write(at, &[!content.byte(at)]);
    }
    content
}

fn repaired(content: Content) -> Result<Observed, String> {
    runtime().block_on(async {
        let disk = PowerCutDisk::new(content, 1);
        let report = common::check(&disk, true).await.map_err(|e| format!("repair: {e}"))?;
        if !report.is_sound() {
            return Err(format!("not repaired: {report:?}"));
        }
        let content = disk.durable_at(disk.points());
        let disk = PowerCutDisk::new(content, 1);
        let again = common::check(&disk, false).await.map_err(|e| format!("check: {e}"))?;
        if !again.findings.is_empty() {
            return Err(format!("called repaired, but {again:?}"));
        }
        let node = common::open(&disk, false).await.map_err(|e| format!("open: {e}"))?;
        observe(&node, true).await
    })
}

fn same(a: &Observed, b: &Observed) -> bool {
    a.zones == b.zones && a.sectors == b.sectors
}

#[test]
fn a_repair_that_is_cut_off_is_done_again() {
    let (mut points, mut cuts) = (0, 0_u64);
    for variant in variants::all() {
        let pages = variant.geometry().nr_zones().div_ceil(253);
        for (closed, damage) in
            [true, false].into_iter().flat_map(|c| damages(pages).into_iter().map(move |d| (c, d)))
        {
            let image = used_image(&variant, closed);
            let undamaged = repaired(image.clone()).unwrap();
            let before = damaged(&image, &damage);
            let wanted = repaired(before.clone()).unwrap();
            let disk = PowerCutDisk::new(before, cuts);
            runtime().block_on(common::check(&disk, true)).unwrap();
            let mut rng = Rng::new(cuts);
            for point in 0..=disk.points() {
                points += 1;
                for _ in 0..CUTS {
                    cuts += 1;
                    let what = || {
                        let trace = disk.trace().join("\n  ");
                        format!("{}, {damage:x?}, point {point}:\n  {trace}", variant.name)
                    };
                    let seen = repaired(disk.after_cut(point, &mut rng));
                    let seen = seen.unwrap_or_else(|e| panic!("{}\n{e}", what()));
                    // A torn write may happen to replace just what was damaged.
                    let fine = same(&seen, &wanted) || same(&seen, &undamaged);
                    assert!(fine, "lost: {}", what());
                }
            }
        }
    }
    eprintln!("cuts while an image was repaired: {points} points, {cuts} cuts");
    assert!(points > 400, "{points}");
}

/// A process was killed after it wrote a page of the table and before it flushed it; the other copy
/// is damaged. What a repair relies on must be durable before it writes anything.
#[test]
fn a_repair_builds_on_nothing_that_a_cut_can_take_away() {
    let mut cuts = 0;
    for variant in variants::all() {
        let pages = variant.geometry().nr_zones().div_ceil(253);
        let image = used_image(&variant, false);
        for (good, bad) in [(0, pages), (pages, 0)] {
            let (good, bad) = (TABLE + good * PAGE, TABLE + bad * PAGE);
            let mut page = vec![0; PAGE as usize];
            image.read(good, &mut page);
            let mut durable = damaged(&image, &[bad]);
            durable.zero(good, PAGE);
            let disk = PowerCutDisk::new(durable, 1);
            runtime().block_on(async {
                let node = Node::new("disk", Box::new(disk.clone()));
                node.write(good, page.into(), RequestFlags::empty()).await.unwrap();
            });
            let wanted = repaired(disk.live()).unwrap();
            let killed = disk.points();
            runtime().block_on(common::check(&disk, true)).unwrap();
            let trace = disk.trace();
            let first = (killed..trace.len()).find(|n| trace[*n].starts_with("write")).unwrap();
            let mut rng = Rng::new(good);
            for point in first + 1..=disk.points() {
                for _ in 0..CUTS {
                    cuts += 1;
                    let seen = repaired(disk.after_cut(point, &mut rng));
                    let seen = seen.unwrap_or_else(|e| panic!("{e}\n{}", trace.join("\n")));
                    let what = || trace.join("\n");
                    assert!(same(&seen, &wanted), "{}, point {point}\n{}", variant.name, what());
                }
            }
        }
    }
    eprintln!("cuts while an image was repaired after a kill: {cuts} cuts");
    assert!(cuts > 100, "{cuts}");
}

//! Damage to the metadata of a cleanly closed image: every byte, every page, every older page.
//!
//! One damaged page loses nothing, and `check` names and repairs it. Where both copies of something
//! are gone, the image is refused until a repair made everything in it readable.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use block_core::{ErrorKind, IoBufMut, Node, RequestFlags, Zone, ZoneCondition, ZoneOp};
use power_cut::{Content, PowerCutDisk};
use std::collections::BTreeSet;
use tokio::runtime::{Builder, Runtime};
use zoned_file::GeometryConfig;

const ZONE: u64 = 8192;
const DEVICE: u64 = 6 * ZONE;
const PAGE: u64 = 4096;
/// Both headers, both state pages, both slots of the table.
const PAGES: [u64; 6] = [0, 64 << 10, 4 << 10, 68 << 10, 128 << 10, 132 << 10];

const GEOMETRY: GeometryConfig = GeometryConfig {
    size: DEVICE,
    zone_size: ZONE,
    zone_capacity: None,
    conventional: 1,
    block_size: 512,
    max_open: 0,
    max_active: 0,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// What a reader sees of a device.
#[derive(Debug, PartialEq)]
struct View {
    zones: Vec<Zone>,
    bytes: Vec<u8>,
}

async fn view(node: &Node) -> View {
    let buffer = IoBufMut::zeroed(usize::try_from(DEVICE).unwrap());
    View {
        zones: node.report_zones(0, usize::MAX).await.unwrap(),
        bytes: node.read(0, buffer.into()).await.unwrap().to_vec(),
    }
}

/// A cleanly closed image, what it shows, and every content that its pages ever had.
struct Subject {
    good: Content,
    view: View,
    versions: Vec<(u64, Vec<u8>)>,
}

async fn subject() -> Subject {
    let disk = PowerCutDisk::new(Content::new(0), 7);
    common::create(&disk, GEOMETRY, Vec::new()).await.unwrap();
    let made = disk.points();
    for opening in 1..4_u8 {
        let node = common::open(&disk, false).await.unwrap();
        let data = |len| vec![opening; len].into();
        let none = RequestFlags::empty();
        node.write(512, data(1024), none).await.unwrap();
        for zone in [1, 2, 3] {
            node.append(zone * ZONE, data(1024), none).await.unwrap();
            node.flush().await.unwrap();
        }
        if opening == 2 {
            node.manage_zones(ZoneOp::Reset, ZONE, ZONE).await.unwrap();
            node.manage_zones(ZoneOp::Finish, 3 * ZONE, ZONE).await.unwrap();
            node.manage_zones(ZoneOp::Reset, 3 * ZONE, ZONE).await.unwrap();
            node.manage_zones(ZoneOp::Finish, 4 * ZONE, ZONE).await.unwrap();
        }
        node.close().await.unwrap();
    }
    let good = disk.live();
    let node = common::open(&PowerCutDisk::new(good.clone(), 1), false).await.unwrap();
    let mut versions = BTreeSet::new();
    for point in made..=disk.points() {
        let content = disk.durable_at(point);
        versions.extend(PAGES.iter().map(|place| (*place, page(&content, *place))));
    }
    Subject { good, view: view(&node).await, versions: versions.into_iter().collect() }
}

fn page(content: &Content, place: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(PAGE).unwrap()];
    content.read(place, &mut bytes);
    bytes
}

impl Subject {
    fn damaged(&self, place: u64, bytes: &[u8]) -> Content {
        let mut content = self.good.clone();
        content.write(place, bytes);
        content
    }

    /// Nothing is lost, the damage is named if it must be, and can be repaired.
    async fn survives(&self, damaged: Content, named: bool, what: &str) {
        let disk = PowerCutDisk::new(damaged.clone(), 1);
        let found = common::check(&disk, false).await.unwrap();
        assert_eq!(disk.points(), 0, "{what}: a check without repair wrote something");
        assert_eq!(found.is_sound(), !named, "{what}: {found:?}");
        let repaired = self.is_repaired(damaged, named, what).await;
        let again = common::check(&repaired, false).await.unwrap();
        assert!(again.findings.is_empty(), "{what}: {again:?}");
        let node = common::open(&repaired, false).await.unwrap();
        assert!(view(&node).await == self.view, "{what}: lost by the repair");
    }

    /// The same in short, for very many.
    async fn is_repaired(&self, damaged: Content, named: bool, what: &str) -> PowerCutDisk {
        let opened = common::open(&PowerCutDisk::new(damaged.clone(), 1), true).await;
        let node = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(view(&node).await == self.view, "{what}: something else is seen");
        let disk = PowerCutDisk::new(damaged, 1);
        let found = common::check(&disk, true).await.unwrap();
        assert_eq!(found.findings.len(), usize::from(named), "{what}: {found:?}");
        let harmless = |f: &zoned_file::Finding| f.meaning.starts_with("nothing is lost");
        assert!(found.findings.iter().all(harmless), "{what}: {found:?}");
        assert!(found.is_sound(), "{what}: {found:?}");
        PowerCutDisk::new(disk.durable_at(disk.points()), 1)
    }
}

#[test]
fn every_byte_of_the_metadata() {
    let subject = runtime().block_on(subject());
    std::thread::scope(|scope| {
        for place in PAGES {
            let subject = &subject;
            scope.spawn(move || {
                let runtime = runtime();
                for at in place..place + PAGE {
                    let flipped = subject.good.byte(at) ^ (1 << (at % 8));
                    let damaged = subject.damaged(at, &[flipped]);
                    let what = format!("byte {at:#x}");
                    if at % 8 == 0 {
                        runtime.block_on(subject.survives(damaged, true, &what));
                    } else {
                        runtime.block_on(subject.is_repaired(damaged, true, &what));
                    }
                }
            });
        }
    });
    eprintln!("{} damaged images, one byte each", PAGES.len() * 4096);
}

#[tokio::test]
async fn every_page_lost_or_of_another_place() {
    let subject = subject().await;
    for place in PAGES {
        let own = page(&subject.good, place);
        let others = PAGES.map(|other| page(&subject.good, other));
        for other in others.into_iter().chain([vec![0; 4096], vec![0xFF; 4096]]) {
            let named = other != own;
            let damaged = subject.damaged(place, &other);
            subject.survives(damaged, named, &format!("page {place:#x}")).await;
        }
    }
}

#[tokio::test]
async fn every_page_as_it_was_at_any_time() {
    let subject = subject().await;
    let mut tried = 0;
    for (place, old) in &subject.versions {
        let damaged = subject.damaged(*place, old);
        // An older state page is no contradiction: it only takes the mark of a clean close away.
        let is_state = PAGES[2..4].contains(place);
        let named = *old != page(&subject.good, *place) && !is_state;
        subject.survives(damaged, named, &format!("old page {place:#x}")).await;
        tried += 1;
    }
    assert!(tried >= 25, "{tried}");
    eprintln!("{tried} old pages");
}

#[tokio::test]
async fn both_copies_of_the_table() {
    let subject = subject().await;
    let mut damaged = subject.damaged(PAGES[4] + 40, &[1]);
    damaged.write(PAGES[5] + 50, &[1]);
    let disk = PowerCutDisk::new(damaged, 1);
    let refused = common::open(&disk, false).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidImage(_)), "{refused}");
    let found = common::check(&disk, false).await.unwrap();
    assert!(!found.is_sound() && found.findings.len() == 1, "{found:?}");
    assert!(found.findings[0].problem.contains("both copies"), "{found:?}");
    assert!(common::check(&disk, true).await.unwrap().is_sound());

    let again = common::check(&disk, false).await.unwrap();
    assert!(again.findings.is_empty(), "{again:?}");
    let node = common::open(&disk, false).await.unwrap();
    let seen = view(&node).await;
    for (zone, before) in seen.zones.iter().zip(&subject.view.zones).skip(1) {
        assert_eq!(zone.condition, ZoneCondition::Full);
        let end = before.write_pointer.unwrap().min(before.end());
        let range = usize::try_from(zone.start).unwrap()..usize::try_from(end).unwrap();
        let (now, then) = (&seen.bytes[range.clone()], &subject.view.bytes[range]);
        // A zone that was finished without data may show anything now.
        assert!(then.iter().all(|b| *b == 0) || now == then, "{zone:?}");
    }
    assert_eq!(seen.bytes[..8192], subject.view.bytes[..8192]);
    node.manage_zones(ZoneOp::Reset, 0, DEVICE).await.unwrap();
    let none = RequestFlags::empty();
    node.append(ZONE, vec![9; 512].into(), none).await.unwrap();
    node.close().await.unwrap();
}

#[tokio::test]
async fn both_state_pages() {
    let subject = subject().await;
    for (a, b) in [(0, 0), (0, 4092), (16, 24), (4092, 4092)] {
        let mut damaged = subject.good.clone();
        for at in [PAGES[2] + a, PAGES[3] + b] {
            damaged.write(at, &[!damaged.byte(at)]);
        }
        let disk = PowerCutDisk::new(damaged, 1);
        let found = common::check(&disk, false).await.unwrap();
        assert_eq!(found.findings.len(), 2, "{found:?}");
        assert!(!found.clean);
        assert!(common::check(&disk, true).await.unwrap().is_sound());
        let again = common::check(&disk, false).await.unwrap();
        assert!(again.findings.is_empty() && !again.clean, "{again:?}");
        let node = common::open(&disk, false).await.unwrap();
        assert!(view(&node).await == subject.view);
    }
}

/// A sequence number that leaves no room for the next one: no image gets there by itself. It can be
/// read; a writer would lose what it was promised, and a repair would write what nobody reads.
#[tokio::test]
async fn a_sequence_number_without_a_next_one() {
    let subject = subject().await;
    for (place, other) in [(PAGES[5], PAGES[4]), (PAGES[3], PAGES[2])] {
        let mut last = page(&subject.good, place);
        last[16..24].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
        let sum = crc32c::crc32c(&last[..4092]);
        last[4092..].copy_from_slice(&sum.to_le_bytes());
        let mut damaged = subject.damaged(place, &last);
        for lost in [false, true] {
            if lost {
                damaged.write(other + 100, &[1]);
            }
            let disk = PowerCutDisk::new(damaged.clone(), 1);
            let node = common::open(&disk, true).await.unwrap();
            assert!(view(&node).await == subject.view);
            let refused = common::open(&disk, false).await.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::InvalidImage(_)), "{refused}");
            assert!(refused.to_string().contains("read-only"), "{refused}");
            for repair in [false, true] {
                let found = common::check(&disk, repair).await.unwrap();
                let named = found.findings.iter().any(|f| f.problem.contains("sequence number"));
                assert!(named && !found.is_sound(), "{found:?}");
            }
            let node = common::open(&disk, true).await.unwrap();
            assert!(view(&node).await == subject.view, "lost by the repair");
        }
    }
}

#[tokio::test]
async fn both_headers() {
    let subject = subject().await;
    for (a, b) in [(0, 0), (0, 4092), (20, 56), (8, 8), (4092, 4092)] {
        let mut damaged = subject.good.clone();
        for at in [PAGES[0] + a, PAGES[1] + b] {
            damaged.write(at, &[!damaged.byte(at)]);
        }
        let disk = PowerCutDisk::new(damaged, 1);
        for refused in [
            common::open(&disk, false).await.map(drop),
            common::check(&disk, false).await.map(drop),
            common::check(&disk, true).await.map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::InvalidImage(_)), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_file_that_ends_too_early() {
    let subject = subject().await;
    let pages = subject.good.length() / PAGE;
    for kept in 0..pages {
        let mut cut = subject.good.clone();
        cut.resize(kept * PAGE);
        let disk = PowerCutDisk::new(cut, 1);
        for refused in [
            common::open(&disk, false).await.map(drop),
            common::open(&disk, true).await.map(drop),
            common::check(&disk, true).await.map(drop),
        ] {
            let refused = refused.unwrap_err();
            let named = matches!(refused.kind(), ErrorKind::InvalidImage(_));
            assert!(named, "{kept} pages: {refused}");
        }
    }
    // A longer file is none the worse for it.
    let mut longer = subject.good.clone();
    longer.resize(subject.good.length() + 5 * PAGE);
    subject.survives(longer, false, "longer").await;
    eprintln!("{pages} truncated images");
}

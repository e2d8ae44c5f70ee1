//! Damage to images, with or without right checksums: `check`, repair, opening, use.

use crate::world::{after_crash, block_on, check, disk, list, new_image, open};
use arbitrary::{Arbitrary, Unstructured};
use block_core::{ErrorKind, IoBufMut, Node, RequestFlags, Result, Zone, ZoneCondition, ZoneOp};
use power_cut::{Content, PowerCutDisk};
use std::sync::OnceLock;
use zoned_file::{CreateOptions, GeometryConfig};

/// How far an input can come.
pub const OUTCOMES: &[&str] = &["no image", "beyond repair", "usable after a repair", "usable"];

const PAGE: u64 = 4096;
/// Both headers, both state pages, and the first pages of the table.
const PAGES: [u64; 8] =
    [0, 64 << 10, 4 << 10, 68 << 10, 128 << 10, 132 << 10, 136 << 10, 140 << 10];
/// A hostile header may ask for a table that takes seconds to read; not here.
const MAX_LENGTH: u64 = 3 << 20;
/// Edits of one input.
const EDITS: usize = 24;
/// Zones that are looked at, and bytes of each.
const LOOK: usize = 48;
const LOOK_BYTES: u64 = 16 << 10;

#[derive(Debug)]
struct Input<'a> {
    base: u8,
    edits: Vec<Edit<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    /// Bytes in a page.
    Bytes {
        page: u8,
        at: u16,
        bytes: &'a [u8],
        seal: bool,
    },
    /// A field of 8 bytes.
    Field {
        page: u8,
        number: u8,
        value: Value,
        seal: bool,
    },
    /// An entry of the zone table.
    Entry {
        page: u8,
        zone: u8,
        written: Value,
        condition: u8,
        seal: bool,
    },
    /// A page in another's place.
    Copy {
        from: u8,
        to: u8,
    },
    Zero {
        page: u8,
    },
    Length(u32),
    Data {
        at: u32,
        bytes: &'a [u8],
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    Small(u8),
    Blocks(u8),
    /// Two to this power, and so much above or below.
    Power(u8, i8),
    Any(u64),
}

impl Value {
    fn get(self) -> u64 {
        match self {
            Self::Small(n) => n.into(),
            Self::Blocks(n) => u64::from(n) * 512,
            Self::Power(n, d) => (1_u64 << (n % 64)).wrapping_add_signed(d.into()),
            Self::Any(n) => n,
        }
    }
}

/// Tries one input.
pub fn run(data: &[u8]) -> &'static str {
    let mut bytes = Unstructured::new(data);
    let base = u8::arbitrary(&mut bytes).unwrap_or(0);
    let input = Input { base, edits: list(&mut bytes, EDITS) };
    let content = input.content();
    block_on(examine(&content))
}

async fn examine(content: &Content) -> &'static str {
    let looked = disk(content);
    let report = only_invalid(check(&looked, false).await, "check");
    let before = only_invalid(look(&looked, true).await, "open read-only");
    assert_eq!(looked.points(), 0, "something was written without leave");
    let Some(report) = report else {
        assert!(before.is_none(), "check refuses what opens");
        assert!(only_invalid(check(&disk(content), true).await, "repair").is_none());
        return "no image";
    };
    let repaired = disk(content);
    let repair = check(&repaired, true).await.unwrap_or_else(|e| panic!("repair: {e}"));
    assert_eq!(report.findings.len(), repair.findings.len(), "{report:?} {repair:?}");
    let content = after_crash(&repaired);
    if !repair.is_sound() {
        assert!(before.is_none() || barred_to_writers(&content).await, "opens: {repair:?}");
        return "beyond repair";
    }
    let again = check(&disk(&content), false).await.unwrap();
    assert!(again.findings.is_empty(), "{repair:?} is called repaired, then {again:?}");
    let after = look(&disk(&content), true).await.unwrap_or_else(|e| panic!("repaired: {e}"));
    if let Some(before) = &before {
        assert!(*before == after, "lost by a repair: {before:?}, now {after:?}, by {repair:?}");
    }
    use_it(&content, &after).await;
    if before.is_some() { "usable" } else { "usable after a repair" }
}

/// Whether an image that can be read is refused to writers, as is right where a repair is beyond
/// this program.
async fn barred_to_writers(content: &Content) -> bool {
    only_invalid(open(&disk(content), false).await, "open").is_none()
}

/// The result, if it is one; the only errors are those of images.
fn only_invalid<T>(result: Result<T>, what: &str) -> Option<T> {
    result
        .map_err(|e| assert!(matches!(e.kind(), ErrorKind::InvalidImage(_)), "{what}: {e:?}"))
        .ok()
}

/// Writes where that is possible, and finds it again after a crash. Nothing else changes.
async fn use_it(content: &Content, before: &View) {
    let written = disk(content);
    let node = open(&written, false).await.unwrap_or_else(|e| panic!("sound, but: {e}"));
    let mut place = None;
    for (zone, _) in &before.0 {
        let block = node.limits().request_alignment;
        let data = || vec![0xD7; block as usize].into();
        use ZoneCondition::{Closed, Empty};
        if !matches!(zone.condition, Empty | Closed) {
            continue;
        }
        match node.append(zone.start, data(), RequestFlags::empty()).await {
            Ok(at) => {
                assert_eq!(Some(at), zone.write_pointer);
                place = Some((at, block));
                break;
            }
            Err(e) => assert!(
                matches!(
                    e.kind(),
                    ErrorKind::NoSpace(_)
                        | ErrorKind::TooManyActive { .. }
                        | ErrorKind::TooManyOpen { .. }
                        | ErrorKind::ZoneFull { .. }
                ),
                "{zone:?}: {e:?}"
            ),
        }
    }
    node.flush().await.unwrap();
    drop(node);
    let crashed = after_crash(&written);
    let seen = look(&disk(&crashed), true).await.unwrap_or_else(|e| panic!("after a flush: {e}"));
    for ((zone, bytes), (zone_now, bytes_now)) in before.0.iter().zip(&seen.0) {
        if place.is_some_and(|(at, _)| zone.write_pointer == Some(at)) {
            let (at, block) = place.unwrap();
            assert!(zone_now.write_pointer >= Some(at + u64::from(block)), "flushed and lost");
            let offset = (at - zone.start) as usize;
            if let Some(there) = bytes_now.get(offset..offset + block as usize) {
                assert!(there.iter().all(|b| *b == 0xD7), "flushed and lost");
            }
        } else {
            assert!(zone == zone_now && bytes == bytes_now, "{zone:?} became {zone_now:?}");
        }
    }
    // The way back to a good state is never barred: everything can be reset and closed.
    let node = open(&disk(&crashed), false).await.unwrap();
    node.manage_zones(ZoneOp::Reset, 0, node.length()).await.unwrap();
    node.settle().await.unwrap();
    node.close().await.unwrap();
}

/// The first zones, with the beginning of their data.
#[derive(Debug, PartialEq)]
struct View(Vec<(Zone, Vec<u8>)>);

async fn look(disk: &PowerCutDisk, read_only: bool) -> Result<View> {
    let node = open(disk, read_only).await?;
    let zones = node.report_zones(0, LOOK).await.unwrap();
    let mut view = Vec::new();
    for zone in zones {
        view.push((zone, bytes(&node, &zone).await));
    }
    Ok(View(view))
}

async fn bytes(node: &Node, zone: &Zone) -> Vec<u8> {
    let len = zone.length.min(LOOK_BYTES);
    let read = node.read(zone.start, IoBufMut::zeroed(len as usize).into()).await;
    match (read, zone.condition) {
        (Err(e), ZoneCondition::Offline) => {
            assert!(matches!(e.kind(), ErrorKind::ZoneOffline { .. }), "{zone:?}: {e:?}");
            Vec::new()
        }
        (read, _) => read.unwrap_or_else(|e| panic!("{zone:?}: {e:?}")).to_vec(),
    }
}

impl Input<'_> {
    fn content(&self) -> Content {
        let bases = bases();
        let mut content = bases[usize::from(self.base) % bases.len()].clone();
        let mut sealed = Vec::new();
        for edit in &self.edits {
            sealed.extend(edit.apply(&mut content));
        }
        for place in sealed {
            let body = page(&content, place);
            let sum = crc32c::crc32c(&body[..body.len() - 4]);
            content.write(place + PAGE - 4, &sum.to_le_bytes());
        }
        content
    }
}

impl Edit<'_> {
    /// Does it, and gives the page that shall have a right checksum in the end.
    fn apply(&self, content: &mut Content) -> Option<u64> {
        match *self {
            Edit::Bytes { page, at, bytes, seal } => {
                let (place, at) = (place(page), u64::from(at) % PAGE);
                let len = bytes.len().min((PAGE - at) as usize);
                content.write(place + at, &bytes[..len]);
                seal.then_some(place)
            }
            Edit::Field { page, number, value, seal } => {
                // The header's fields lie within 128 bytes; those of the other pages too.
                let at = place(page) + u64::from(number % 32) * 4;
                content.write(at, &value.get().to_le_bytes());
                seal.then_some(place(page))
            }
            Edit::Entry { page, zone, written, condition, seal } => {
                let at = place(page) + 32 + u64::from(zone % 253) * 16;
                content.write(at, &written.get().to_le_bytes());
                content.write(at + 8, &[[0, 0xD, 0xE, 0xF][usize::from(condition) % 4]]);
                seal.then_some(place(page))
            }
            Edit::Copy { from, to } => {
                let bytes = self::page(content, place(from));
                content.write(place(to), &bytes);
                None
            }
            Edit::Zero { page } => {
                content.zero(place(page), PAGE);
                None
            }
            Edit::Length(length) => {
                content.resize(u64::from(length) % MAX_LENGTH / 512 * 512);
                None
            }
            Edit::Data { at, bytes } => {
                content.write((1 << 20) + u64::from(at) % (1 << 20), bytes);
                None
            }
        }
    }
}

fn place(page: u8) -> u64 {
    PAGES[usize::from(page) % PAGES.len()]
}

fn page(content: &Content, place: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAGE as usize];
    content.read(place, &mut bytes);
    bytes
}

/// What the damage is done to: nothing at all, and images with some history.
fn bases() -> &'static [Content] {
    static BASES: OnceLock<Vec<Content>> = OnceLock::new();
    if let Some(bases) = BASES.get() {
        return bases;
    }
    let mut made = vec![Content::new(1 << 20)];
    for closed in [true, false] {
        made.extend(shapes().iter().map(|shape| futures_free(used_image(shape, closed))));
    }
    BASES.get_or_init(|| made)
}

/// Images are made on a thread of their own, because this one may be in its runtime already.
fn futures_free<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| block_on(work)).join().unwrap())
}

fn shapes() -> [CreateOptions; 3] {
    let plain = GeometryConfig {
        size: 8 * 16384,
        zone_size: 16384,
        block_size: 4096,
        ..GeometryConfig::default()
    };
    let odd = GeometryConfig {
        size: 7 * 3584 + 1024,
        zone_size: 3584,
        zone_capacity: Some(3072),
        conventional: 2,
        block_size: 512,
        max_open: 2,
        max_active: 3,
    };
    let many = GeometryConfig {
        size: 300 * 1024,
        zone_size: 1024,
        block_size: 512,
        conventional: 1,
        ..GeometryConfig::default()
    };
    [
        CreateOptions::new(plain),
        CreateOptions {
            read_only_zones: vec![5],
            offline_zones: vec![6],
            ..CreateOptions::new(odd)
        },
        CreateOptions::new(many),
    ]
}

async fn used_image(shape: &CreateOptions, closed: bool) -> Content {
    let disk = disk(&new_image(shape).await);
    let node = open(&disk, false).await.unwrap();
    let (zone, block) = (shape.geometry.zone_size, shape.geometry.block_size as usize);
    for (number, byte) in [(2, 1_u8), (3, 2), (3, 3), (4, 4), (2, 5)] {
        let data = vec![byte; block].into();
        node.append(number * zone, data, RequestFlags::empty()).await.unwrap();
        node.flush().await.unwrap();
    }
    node.manage_zones(ZoneOp::Finish, 3 * zone, zone).await.unwrap();
    node.manage_zones(ZoneOp::Reset, 4 * zone, zone).await.unwrap();
    if closed {
        node.close().await.unwrap();
    }
    drop(node);
    after_crash(&disk)
}

//! An export of an emulated zoned device: every kind of request, refused and done.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_core::{IoBufMut, IoVecMut, Zone, ZoneCondition, ZonedModel};
use block_export::{Export, Identity, Kind, Reply, Request};

const ZONE: u64 = 1 << 20;

struct Disk {
    export: Export,
    _dir: tempfile::TempDir,
}

async fn disk(geometry: GeometryConfig, read_only: bool) -> Disk {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.zbd");
    let options = CreateOptions::new(geometry);
    create_zoned(&path, &options, false).await.unwrap();
    let backend = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    let identity = Identity::new("serial", read_only).unwrap();
    Disk { export: Export::new(backend, identity).await.unwrap(), _dir: dir }
}

fn geometry() -> GeometryConfig {
    GeometryConfig {
        size: 8 * ZONE,
        zone_size: ZONE,
        block_size: 512,
        conventional: 2,
        max_open: 2,
        max_active: 3,
        ..GeometryConfig::default()
    }
}

impl Disk {
    async fn refused(&self, request: Request) -> &'static str {
        self.export.serve(request).await.unwrap_err().kind().name()
    }

    async fn done(&self, request: Request) {
        assert!(matches!(self.export.serve(request).await.unwrap(), Reply::Done));
    }

    async fn zone(&self, offset: u64) -> Zone {
        match self.export.serve(Request::ReportZones { offset, max_zones: 1 }).await.unwrap() {
            Reply::Zones(zones) => zones[0],
            other => panic!("{other:?}"),
        }
    }

    async fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let into = IoVecMut::from(IoBufMut::zeroed(len));
        match self.export.serve(Request::Read { offset, into }).await.unwrap() {
            Reply::Read(bufs) => bufs.to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

fn write(offset: u64, byte: u8, len: usize) -> Request {
    Request::Write { offset, data: vec![byte; len].into(), fua: false }
}

#[tokio::test]
async fn every_kind_of_request_does_what_it_says() {
    let disk = disk(geometry(), false).await;
    let zone = 2 * ZONE;
    disk.done(write(zone, 1, 512)).await;
    let append = Request::Append { zone_offset: zone, data: vec![2; 512].into(), fua: true };
    let Reply::Appended(position) = disk.export.serve(append).await.unwrap() else { panic!() };
    assert_eq!(position, zone + 512);
    assert_eq!(disk.read(zone, 1024).await, [[1; 512], [2; 512]].concat());
    disk.done(Request::Flush).await;
    disk.done(Request::WriteZeroes { offset: 0, len: 512, unmap: true, fua: true }).await;
    disk.done(Request::Open { offset: zone }).await;
    assert_eq!(disk.zone(zone).await.condition, ZoneCondition::ExplicitOpen);
    disk.done(Request::Close { offset: zone }).await;
    assert_eq!(disk.zone(zone).await.condition, ZoneCondition::Closed);
    disk.done(Request::Finish { offset: zone }).await;
    assert_eq!(disk.zone(zone).await.condition, ZoneCondition::Full);
    disk.done(Request::Reset { offset: zone }).await;
    assert_eq!(disk.zone(zone + 5).await.condition, ZoneCondition::Empty);
    disk.done(write(zone, 1, 512)).await;
    disk.done(Request::ResetAll).await;
    assert_eq!(disk.zone(zone).await.condition, ZoneCondition::Empty);
    let counters = disk.export.counters();
    let done: Vec<_> = Kind::ALL.iter().map(|kind| counters.of(*kind).done()).collect();
    // Read, write, flush, discard, write-zeroes, report, open, close, finish, reset, all, append.
    assert_eq!(done, [1, 2, 1, 0, 1, 5, 1, 1, 1, 1, 1, 1]);
    assert_eq!(counters.of(Kind::Write).bytes(), 1024);
    disk.export.close().await.unwrap();
}

#[tokio::test]
async fn refusals_are_typed_and_counted() {
    let disk = disk(geometry(), false).await;
    assert_eq!(disk.refused(write(2 * ZONE + 512, 1, 512)).await, "write-pointer-mismatch");
    assert_eq!(disk.refused(write(8 * ZONE, 1, 512)).await, "out-of-range");
    assert_eq!(disk.refused(write(u64::MAX - 511, 1, 512)).await, "out-of-range");
    assert_eq!(disk.refused(Request::Open { offset: 0 }).await, "conventional-zone");
    assert_eq!(disk.refused(Request::Open { offset: 512 }).await, "misaligned");
    assert_eq!(disk.refused(Request::Reset { offset: 8 * ZONE }).await, "out-of-range");
    disk.done(Request::Open { offset: 2 * ZONE }).await;
    disk.done(Request::Open { offset: 3 * ZONE }).await;
    assert_eq!(disk.refused(Request::Open { offset: 4 * ZONE }).await, "too-many-open");
    disk.done(write(2 * ZONE, 1, 512)).await;
    disk.done(Request::Close { offset: 2 * ZONE }).await;
    disk.done(Request::Open { offset: 4 * ZONE }).await;
    disk.done(write(4 * ZONE, 1, 512)).await;
    disk.done(Request::Close { offset: 4 * ZONE }).await;
    assert_eq!(disk.refused(write(5 * ZONE, 1, 512)).await, "too-many-active");
    let failures = disk.export.counters().failures();
    assert_eq!(failures[&("write", "out-of-range")], 2);
    assert_eq!(failures[&("zone-open", "conventional-zone")], 1);
    assert_eq!(disk.export.counters().of(Kind::Open).failed(), 3);
}

#[tokio::test]
async fn a_read_only_device_refuses_all_changes_first() {
    let disk = disk(geometry(), true).await;
    let facts = disk.export.characteristics();
    assert!(facts.read_only && facts.discard.is_none() && facts.write_zeroes.is_none());
    assert_eq!(disk.refused(write(1, 1, 512)).await, "read-only");
    let append = Request::Append { zone_offset: 1, data: vec![2; 512].into(), fua: true };
    assert_eq!(disk.refused(append).await, "read-only");
    assert_eq!(disk.refused(Request::ResetAll).await, "read-only");
    assert_eq!(disk.refused(Request::Discard { offset: 0, len: 512 }).await, "read-only");
    for op in block_core::ZoneOp::ALL {
        assert_eq!(disk.refused(Request::manage(op, 2 * ZONE)).await, "read-only");
    }
    disk.done(Request::Flush).await;
    assert_eq!(disk.read(0, 512).await, [0; 512]);
    assert_eq!(disk.zone(2 * ZONE).await.condition, ZoneCondition::Empty);
}

#[tokio::test]
async fn a_device_says_of_itself_what_the_graph_knows() {
    let geometry = GeometryConfig {
        zone_capacity: Some(ZONE / 4 * 3),
        block_size: 4096,
        size: 7 * ZONE + ZONE / 2,
        ..geometry()
    };
    let disk = disk(geometry, false).await;
    let facts = disk.export.characteristics();
    assert_eq!((disk.export.length(), facts.block_size), (7 * ZONE + ZONE / 2, 4096));
    assert!(facts.discard.is_none() && facts.write_zeroes.is_none(), "host-managed");
    let zoned = facts.zoned.as_ref().unwrap();
    assert_eq!(zoned.model, ZonedModel::HostManaged);
    assert_eq!((zoned.zone_size, zoned.nr_zones), (ZONE, 8));
    assert_eq!((zoned.max_open, zoned.max_active), (2, 3));
    assert_eq!(zoned.write_granularity, 4096);
    assert_eq!(zoned.conventional.as_slice(), std::slice::from_ref(&(0..2 * ZONE)));
    assert!(zoned.max_append > 0 && zoned.max_append <= ZONE / 4 * 3);
    assert_eq!(disk.export.identity().serial(), "serial");
}

#[tokio::test]
async fn a_regular_image_ends_with_its_last_whole_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.raw");
    std::fs::write(&path, vec![9_u8; 3 * 512 + 100]).unwrap();
    let backend = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    let export = Export::new(backend, Identity::default()).await.unwrap();
    let facts = export.characteristics();
    assert_eq!((export.length(), facts.zoned.as_ref()), (3 * 512, None));
    assert!(facts.discard.is_some() && facts.write_zeroes.is_some());
    let past = write(3 * 512, 1, 50);
    assert_eq!(export.serve(past).await.unwrap_err().kind().name(), "out-of-range");
    let manage = export.serve(Request::ResetAll).await.unwrap_err();
    assert_eq!(manage.kind().name(), "not-zoned");
    export.serve(Request::Discard { offset: 0, len: 512 }).await.unwrap();
    export.close().await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[3 * 512..], [9; 100], "the tail is left alone");
}

#[tokio::test]
async fn an_image_shorter_than_a_block_is_no_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.raw");
    std::fs::write(&path, vec![9_u8; 100]).unwrap();
    let backend = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    let error = Export::new(backend, Identity::default()).await.unwrap_err();
    assert_eq!(error.kind().name(), "unsupported");
}

#[tokio::test]
async fn the_only_zone_of_a_device_is_managed_like_any_other() {
    let one = GeometryConfig { size: ZONE, conventional: 1, ..geometry() };
    let disk = disk(one, false).await;
    assert_eq!(disk.refused(Request::Reset { offset: 0 }).await, "conventional-zone");
    disk.done(Request::ResetAll).await;
}

#[tokio::test]
async fn a_write_that_landed_before_a_crash_is_not_refused_the_second_time() {
    let disk = disk(geometry(), false).await;
    let zone = 2 * ZONE;
    let data: Vec<u8> = (0..4096_u32).map(|i| u8::try_from(i / 512).unwrap() + 1).collect();
    let again = |offset, data: &[u8]| disk.export.write_again(offset, data.to_vec().into(), true);
    // Never began; landed wholly; landed in part.
    again(zone, &data).await.unwrap();
    again(zone, &data).await.unwrap();
    assert_eq!(disk.zone(zone).await.write_pointer, Some(zone + 4096));
    again(zone + 2048, &[&data[2048..], &data[..]].concat()).await.unwrap();
    assert_eq!(disk.zone(zone).await.write_pointer, Some(zone + 8192));
    assert_eq!(disk.read(zone, 8192).await, [data.clone(), data.clone()].concat());
    // Other data in its place, or a gap before it: refused as ever, and nothing is written.
    let other = again(zone + 512, &[9; 512]).await.unwrap_err();
    assert_eq!(other.kind().name(), "write-pointer-mismatch");
    let gap = again(zone + 8192 + 512, &data).await.unwrap_err();
    assert_eq!(gap.kind().name(), "write-pointer-mismatch");
    assert_eq!(disk.zone(zone).await.write_pointer, Some(zone + 8192));
    // The write that filled its zone.
    let full = vec![7; usize::try_from(ZONE).unwrap()];
    disk.done(Request::Write { offset: 3 * ZONE, data: full.clone().into(), fua: false }).await;
    again(3 * ZONE, &full).await.unwrap();
    let beyond = again(3 * ZONE, &[full, vec![7; 512]].concat()).await.unwrap_err();
    assert_ne!(beyond.kind().name(), "io", "{beyond}");
    assert_eq!(disk.zone(4 * ZONE).await.condition, ZoneCondition::Empty);
    // A conventional zone takes it twice like any disk.
    again(0, &data).await.unwrap();
    again(0, &data).await.unwrap();
}

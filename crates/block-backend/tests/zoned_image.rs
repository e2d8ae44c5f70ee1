//! The whole graph on a real file: made, filled, closed, opened again.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use block_backend::image::{CreateOptions, GeometryConfig, check_zoned, create_zoned};
use block_backend::{BlockBackend, RequestFlags, ZoneCondition};
use std::path::PathBuf;

const ZONE: u64 = 16 << 20;
const CAPACITY: u64 = 12 << 20;

async fn image(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("d.zbd");
    let options = CreateOptions {
        geometry: GeometryConfig {
            size: 256 << 20,
            zone_size: ZONE,
            zone_capacity: Some(CAPACITY),
            conventional: 2,
            block_size: 4096,
            max_open: 4,
            max_active: 6,
        },
        read_only_zones: vec![14],
        offline_zones: vec![15],
    };
    create_zoned(&path, &options, false).await.unwrap();
    path
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir).await;
    let text = path.to_str().unwrap();
    let disk = BlockBackend::open(text).await.unwrap();
    disk.write(0, vec![1; 8192]).await.unwrap();
    assert_eq!(disk.append(2 * ZONE, vec![2; 4096]).await.unwrap(), 2 * ZONE);
    assert_eq!(disk.append(2 * ZONE, vec![3; 8192]).await.unwrap(), 2 * ZONE + 4096);
    disk.write_with(3 * ZONE, vec![4; 4096], RequestFlags::FUA).await.unwrap();
    disk.finish_zones(3 * ZONE, ZONE).await.unwrap();
    assert_eq!(disk.read(2 * ZONE, 4096).await.unwrap(), vec![2; 4096]);
    disk.close().await.unwrap();

    let graph = format!(
        "driver=raw,file.driver=zoned-file,file.file.driver=file,file.file.filename={text}"
    );
    let disk = BlockBackend::open(&graph).await.unwrap();
    let zones = disk.report_zones(0, 100).await.unwrap();
    assert_eq!(zones.len(), 16);
    assert_eq!(zones[2].condition, ZoneCondition::Closed);
    assert_eq!(zones[2].write_pointer, Some(2 * ZONE + 12288));
    assert_eq!(zones[3].condition, ZoneCondition::Full);
    assert_eq!(zones[14].condition, ZoneCondition::ReadOnly);
    let across = disk.read(2 * ZONE + 4096, usize::try_from(ZONE).unwrap()).await.unwrap();
    assert_eq!(across[..8192], vec![3; 8192][..]);
    assert!(across[8192..across.len() - 4096].iter().all(|b| *b == 0));
    assert_eq!(across[across.len() - 4096..], vec![4; 4096][..]);
    disk.reset_all_zones().await.unwrap();
    assert_eq!(disk.read(0, 8192).await.unwrap(), vec![1; 8192]);
    assert!(disk.read(2 * ZONE, 8192).await.unwrap().iter().all(|b| *b == 0));
    assert_eq!(disk.read(15 * ZONE, 4096).await.unwrap_err().kind().name(), "zone-offline");
    disk.close().await.unwrap();
    assert_eq!(disk.read(0, 4096).await.unwrap_err().kind().name(), "closed");

    let report = check_zoned(text, false).await.unwrap();
    assert!(report.clean && report.findings.is_empty(), "{report:?}");
}

#[tokio::test]
async fn dropped_without_close_it_keeps_what_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir).await;
    let text = path.to_str().unwrap();
    {
        let disk = BlockBackend::open(text).await.unwrap();
        disk.append(2 * ZONE, vec![2; 4096]).await.unwrap();
        disk.flush().await.unwrap();
        disk.append(2 * ZONE, vec![3; 4096]).await.unwrap();
    }
    let disk = BlockBackend::builder().read_only(true).open(text).await.unwrap();
    let zone = disk.report_zones(2 * ZONE, 1).await.unwrap()[0];
    assert_eq!(zone.write_pointer, Some(2 * ZONE + 4096));
    assert_eq!(disk.append(2 * ZONE, vec![0; 4096]).await.unwrap_err().kind().name(), "read-only");
    assert!(!check_zoned(text, false).await.unwrap().clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_appends_at_once_each_have_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir).await;
    let disk = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    let mut tasks = Vec::new();
    for i in 0..200_u8 {
        let disk = disk.clone();
        tasks.push(tokio::spawn(async move {
            let zone = ZONE * (2 + u64::from(i % 3));
            (i, disk.append(zone, vec![i; 4096]).await.unwrap())
        }));
    }
    let mut places = std::collections::BTreeSet::new();
    for task in tasks {
        let (i, at) = task.await.unwrap();
        assert!(places.insert(at));
        assert_eq!(disk.read(at, 4096).await.unwrap(), vec![i; 4096]);
    }
    disk.close().await.unwrap();
}

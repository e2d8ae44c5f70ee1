//! A device that goes away while it is in use.

use crate::harness::Suite;
use crate::subject::{Device, Kind, NO_FLAGS, data, sequential, unit};
use block_core::ZoneOp;
use std::time::Duration;

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    let kind_of = device.kind;
    suite
        .case("requests_end_with_an_error", async move {
            let node = subject.open().await;
            let unit = unit(&node);
            let seq = sequential(&node).await;
            let mut tasks = tokio::task::JoinSet::new();
            for zone in seq.iter().copied().take(4) {
                let node = node.clone();
                tasks.spawn(async move {
                    let mut count = 0_u64;
                    let error = loop {
                        match node.append(zone.start, data(count, unit), NO_FLAGS).await {
                            Ok(_) => count += 1,
                            Err(e) if e.kind().name() == "zone-full" => {
                                if let Err(e) =
                                    node.manage_zones(ZoneOp::Reset, zone.start, zone.length).await
                                {
                                    break e;
                                }
                            }
                            Err(e) => break e,
                        }
                    };
                    (count, error)
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            match kind_of {
                Kind::NullBlk | Kind::NullBlkOdd => {
                    let null_blk = subject.null_blk.clone().unwrap();
                    tokio::task::spawn_blocking(move || null_blk.unplug()).await.unwrap();
                }
                _ => {
                    let name = subject.path.file_name().unwrap().to_str().unwrap();
                    let remove = match kind_of {
                        Kind::ScsiDebug => format!("/sys/block/{name}/device/delete"),
                        _ => format!("/sys/block/{name}/device/device/remove"),
                    };
                    tokio::task::spawn_blocking(move || std::fs::write(remove, "1").unwrap())
                        .await
                        .unwrap();
                }
            }
            for (count, error) in tasks.join_all().await {
                assert!(count > 0, "it worked before: {error}");
                assert_eq!(error.kind().name(), "io", "{error}");
            }
            for zone in &seq {
                let append = node.append(zone.start, data(1, unit), NO_FLAGS).await;
                assert_eq!(append.unwrap_err().kind().name(), "io");
                let manage = node.manage_zones(ZoneOp::Reset, zone.start, zone.length).await;
                assert_eq!(manage.unwrap_err().kind().name(), "io");
            }
            assert_eq!(node.report_zones(0, 1).await.unwrap_err().kind().name(), "io");
            let read = node.read(0, vec![0; unit as usize].into()).await;
            assert_eq!(read.unwrap_err().kind().name(), "io");
            node.settle().await.unwrap();
            let _ = node.close().await;
        })
        .await;
}

//! Block devices without zones.

use super::removal::Tasks;
use crate::harness::Suite;
use crate::nullb::Spec;
use crate::subject::{
    BUFFERED, DIRECT, NO_FLAGS, READ_ONLY, Subject, data, graph, kind, open, open_soon, options,
    pattern, read,
};
use crate::witness;
use block_conformance::{Fresh, OpenMode, Profile, Verdict};
use block_core::{ImageSpec, Inherited, RequestFlags};
use std::time::Duration;

async fn battery(suite: &mut Suite<'_>, cache_direct: bool) {
    let mut profile = Profile::fixed();
    profile.patience = Duration::from_secs(240);
    let report = block_conformance::run(profile, move || async move {
        let subject = Subject::null_blk(&Spec::REGULAR);
        let how = move |read_only| Inherited { read_only, cache_direct, ..Inherited::default() };
        let options = options(&subject.path);
        let node = open_soon(options.clone(), how(false)).await.unwrap();
        let reopen = move |mode| {
            let options = options.clone();
            async move { open_soon(options, how(mode == OpenMode::ReadOnly)).await }
        };
        Fresh::new(node).with_reopen(reopen).keeping(subject)
    })
    .await;
    let way = if cache_direct { "direct" } else { "buffered" };
    for case in report.cases {
        let name = format!("{way}::{}", case.name);
        match case.verdict {
            Verdict::Passed => suite.record(&name, None),
            Verdict::Failed(why) => suite.record(&name, Some(why)),
            Verdict::Skipped(why) => suite.skip(&name, &why),
        }
    }
}

pub async fn run(suite: &mut Suite<'_>) {
    battery(suite, true).await;
    battery(suite, false).await;

    let subject = Subject::null_blk(&Spec::REGULAR);
    suite
        .case("zoned_host_device_refuses_it", async move {
            let zoned = options(&subject.path).set("driver", "zoned_host_device");
            let error = open(zoned, DIRECT).await.unwrap_err();
            assert_eq!(error.kind().name(), "invalid-option");
            assert!(error.to_string().contains("without zones"), "{error}");
            let node =
                graph().open(&ImageSpec::Path(subject.path.clone()), BUFFERED).await.unwrap();
            assert_eq!(node.driver_name(), "host_device");
            assert!(node.limits().zoned.is_none());
            assert_eq!(kind(node.report_zones(0, 1).await), "not-zoned");
        })
        .await;

    let subject = Subject::null_blk(&Spec::REGULAR);
    suite
        .case("discard_and_zeroes", async move {
            let node = open_soon(options(&subject.path), DIRECT).await.unwrap();
            node.write(0, data(1, 1 << 20), NO_FLAGS).await.unwrap();
            if node.limits().discard {
                node.discard(0, 1 << 16).await.unwrap();
            } else {
                assert_eq!(kind(node.discard(0, 1 << 16).await), "unsupported");
            }
            node.write_zeroes(1 << 18, 1 << 16, RequestFlags::MAY_UNMAP).await.unwrap();
            node.write_zeroes(1 << 19, 1 << 16, NO_FLAGS).await.unwrap();
            for at in [1 << 18, 1 << 19] {
                assert_eq!(read(&node, at, 1 << 16).await, vec![0; 1 << 16]);
            }
            let rest = (1 << 19) + (1 << 16);
            assert_eq!(read(&node, rest, 512).await, pattern(1, 1 << 20)[rest as usize..][..512]);
        })
        .await;

    let subject = Subject::null_blk(&Spec::REGULAR);
    suite
        .case("a_mounted_device_is_busy", async move {
            let device = subject.device();
            witness::run("mkfs.ext4", &["-q", "-F", device]);
            std::fs::create_dir_all("/tmp/mounted").unwrap();
            witness::run("mount", &[device, "/tmp/mounted"]);
            let error = open(options(&subject.path), DIRECT).await.unwrap_err();
            assert_eq!(error.kind().name(), "busy", "{error}");
            assert!(error.to_string().contains("mounted"), "{error}");
            open(options(&subject.path), READ_ONLY).await.unwrap();
            witness::run("umount", &["/tmp/mounted"]);
            open(options(&subject.path), DIRECT).await.unwrap();
        })
        .await;

    let subject = Subject::null_blk(&Spec::REGULAR);
    suite
        .case("a_write_protected_device", async move {
            witness::run("blockdev", &["--setro", subject.device()]);
            let error = open(options(&subject.path), DIRECT).await.unwrap_err();
            assert!(error.to_string().contains("read-only=on"), "{error}");
            open(options(&subject.path), READ_ONLY).await.unwrap();
            witness::run("blockdev", &["--setrw", subject.device()]);
        })
        .await;

    let subject = Subject::null_blk(&Spec::REGULAR);
    suite
        .case("a_partition", async move {
            let mut table = [0_u8; 512];
            // One entry: type Linux, from sector 2048 on, 4096 sectors.
            table[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
            table[510..].copy_from_slice(&[0x55, 0xAA]);
            let whole = open_soon(options(&subject.path), DIRECT).await.unwrap();
            whole.write(0, block_core::IoBuf::copy_of(&table).into(), NO_FLAGS).await.unwrap();
            whole.write(2048 * 512, data(7, 4096), NO_FLAGS).await.unwrap();
            whole.close().await.unwrap();
            drop(whole);
            witness::run("blockdev", &["--rereadpt", subject.device()]);
            let path = format!("{}p1", subject.device());
            let path = std::path::PathBuf::from(if subject.device().ends_with(char::is_numeric) {
                path
            } else {
                format!("{}1", subject.device())
            });
            for _ in 0..1000 {
                if path.exists() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let node = open_soon(options(&path), DIRECT).await.unwrap();
            assert_eq!(node.length(), 4096 * 512);
            assert_eq!(read(&node, 0, 4096).await, pattern(7, 4096));
            drop(node);
        })
        .await;

    for how in [DIRECT, BUFFERED] {
        let way = if how.cache_direct { "direct" } else { "buffered" };
        let subject = Subject::null_blk(&Spec::REGULAR);
        suite
            .case(&format!("removed_while_in_use_{way}"), async move {
                let node = open_soon(options(&subject.path), how).await.unwrap();
                let mut tasks = Tasks::default();
                for i in 0..4_u64 {
                    let node = node.clone();
                    tasks.spawn(move |count| {
                        let node = node.clone();
                        async move {
                            let at = (i << 20) + count % 64 * 4096;
                            node.write(at, data(count, 4096), NO_FLAGS).await?;
                            node.flush().await?;
                            node.read(at, vec![0; 4096].into()).await.map(drop)
                        }
                    });
                }
                tasks.are_at_work().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                let null_blk = subject.null_blk.clone().unwrap();
                tokio::task::spawn_blocking(move || null_blk.unplug()).await.unwrap();
                tasks.end_by_an_error().await;
                assert_eq!(kind(node.write(0, data(1, 4096), NO_FLAGS).await), "io");
                node.settle().await.unwrap();
                let _ = node.close().await;
            })
            .await;
    }
}

//! What is refused at open, and why.

use crate::child::opened_by_nobody;
use crate::harness::Suite;
use crate::subject::{
    BUFFERED, DIRECT, Device, NO_FLAGS, READ_ONLY, data, graph, kind, manage, open, open_soon,
    options, pattern, read, sequential, unit, zones,
};
use crate::witness::{self, blkzone_report, dd_read};
use block_core::{ImageSpec, Options, Zone, ZoneCondition, ZoneOp};

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    suite
        .case("through_the_page_cache_is_refused", async move {
            let error = open(options(&subject.path), BUFFERED).await.unwrap_err();
            assert_eq!(error.kind().name(), "invalid-option");
            assert!(error.to_string().contains("add cache.direct=on"), "{error}");
            let bare = ImageSpec::Path(subject.path.clone());
            let error = graph().open(&bare, BUFFERED).await.unwrap_err();
            assert!(error.to_string().contains("add cache.direct=on"), "{error}");
            let spec = format!("driver=host_device,filename={},cache.direct=on", subject.device());
            let spec = ImageSpec::parse(&spec).unwrap();
            graph().open(&spec, BUFFERED).await.unwrap();
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_bare_path_is_probed", async move {
            let bare = ImageSpec::Path(subject.path.clone());
            let node = graph().open(&bare, DIRECT).await.unwrap();
            assert_eq!(node.driver_name(), "host_device");
            assert!(node.limits().zoned.is_some());
        })
        .await;

    let subject = device.fresh();
    suite
        .case("zoned_host_device_takes_it", async move {
            let options = options(&subject.path).set("driver", "zoned_host_device");
            let node = open(options, DIRECT).await.unwrap();
            assert_eq!(node.driver_name(), "zoned_host_device");
            assert!(node.limits().zoned.is_some());
        })
        .await;

    let subject = device.fresh();
    suite
        .case("one_writer_or_many_readers", async move {
            let options = || options(&subject.path);
            let writer = subject.open().await;
            assert_eq!(kind(open(options(), DIRECT).await), "busy");
            assert_eq!(kind(open(options(), READ_ONLY).await), "busy");
            let unlocked = options().set("locking", "off");
            open(unlocked, DIRECT).await.unwrap();
            writer.close().await.unwrap();
            drop(writer);
            let first = open_soon(options(), READ_ONLY).await.unwrap();
            let second = open(options(), READ_ONLY).await.unwrap();
            assert_eq!(kind(open(options(), DIRECT).await), "busy");
            drop((first, second));
            open_soon(options(), DIRECT).await.unwrap();
        })
        .await;

    let subject = device.fresh();
    suite
        .case("read_only_changes_nothing", async move {
            let node = open_soon(options(&subject.path), READ_ONLY).await.unwrap();
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            assert!(node.limits().read_only);
            assert_eq!(kind(node.write(z.start, data(1, unit), NO_FLAGS).await), "read-only");
            assert_eq!(kind(node.append(z.start, data(1, unit), NO_FLAGS).await), "read-only");
            assert_eq!(kind(node.write_zeroes(z.start, unit, NO_FLAGS).await), "read-only");
            assert_eq!(kind(node.discard(z.start, unit).await), "read-only");
            for op in ZoneOp::ALL {
                assert_eq!(kind(node.manage_zones(op, z.start, z.length).await), "read-only");
            }
            assert_eq!(sequential(&node).await[0], z);
            read(&node, z.start, unit).await;
        })
        .await;

    let subject = device.fresh();
    suite
        .case("options_that_cannot_be", async move {
            let with = |key: &str, value: &str| options(&subject.path).set(key, value);
            assert_eq!(kind(open(with("apend", "auto"), DIRECT).await), "invalid-option");
            assert_eq!(kind(open(with("append", "sometimes"), DIRECT).await), "invalid-option");
            assert_eq!(kind(open(with("filename", ""), DIRECT).await), "invalid-option");
            assert_eq!(kind(open(with("filename", "/dev/null"), DIRECT).await), "invalid-option");
            assert_eq!(kind(open(with("filename", "/dev/nonexistent"), DIRECT).await), "io");
            let native = open_soon(with("append", "native"), DIRECT).await;
            match native {
                Ok(_) => assert!(subject.device().contains("nvme")),
                Err(error) => {
                    assert_eq!(error.kind().name(), "invalid-option");
                    assert!(error.to_string().contains("append=emulated"), "{error}");
                }
            }
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_window_or_format_that_carries_no_zones_is_refused", async move {
            let child = options(&subject.path);
            let image = Options::driver("zoned-file").child("file", child);
            let error = open(image, DIRECT).await.unwrap_err();
            assert_eq!(error.kind().name(), "invalid-option", "{error}");
            assert!(error.to_string().contains("does not carry zones"), "{error}");
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_raw_window_carries_zones", async move {
            let probe = subject.open().await;
            let seq = sequential(&probe).await;
            probe.close().await.unwrap();
            drop(probe);
            let part = &seq[1..5];
            let (offset, size) = (part[0].start, part[3].end() - part[0].start);
            let raw = |offset: u64, size: u64| {
                Options::driver("raw")
                    .set("offset", offset.to_string())
                    .set("size", size.to_string())
                    .child("file", options(&subject.path))
            };
            let node = open_soon(raw(offset, size), DIRECT).await.unwrap();
            let unit = unit(&node);
            let seen = zones(&node).await;
            assert_eq!(seen.len(), 4);
            for (seen, below) in seen.iter().zip(part) {
                assert_eq!((seen.start, seen.capacity), (below.start - offset, below.capacity));
            }
            let at = node.append(seen[1].start, data(1, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, seen[1].start);
            manage(&node, ZoneOp::Finish, &seen[2]).await.unwrap();
            assert_eq!(dd_read(subject.device(), part[1].start, unit), pattern(1, unit));
            let theirs = blkzone_report(subject.device());
            let of = |z: &Zone| theirs.iter().find(|t| t[0] == z.start / 512).unwrap()[4];
            assert_eq!(of(&part[2]), u64::from(ZoneCondition::Full.code()));
            assert_eq!(of(&part[3]), u64::from(ZoneCondition::Empty.code()));
            node.close().await.unwrap();
            drop(node);
            let cut = open_soon(raw(offset + unit, size), DIRECT).await;
            assert_eq!(kind(cut), "invalid-option");
        })
        .await;

    let subject = device.fresh();
    suite
        .case("held_by_another_program", async move {
            use std::os::unix::fs::OpenOptionsExt;
            const O_EXCL: i32 = 0o200;
            let holder =
                std::fs::OpenOptions::new().read(true).custom_flags(O_EXCL).open(&subject.path);
            let error = open(options(&subject.path), DIRECT).await.unwrap_err();
            assert_eq!(error.kind().name(), "busy", "{error}");
            assert!(error.to_string().contains("lsblk"), "{error}");
            open(options(&subject.path), READ_ONLY).await.unwrap();
            drop(holder.unwrap());
            open_soon(options(&subject.path), DIRECT).await.unwrap();
        })
        .await;

    let subject = device.fresh();
    suite
        .case("a_write_protected_device", async move {
            let node = subject.open().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            node.close().await.unwrap();
            drop(node);
            witness::run("blockdev", &["--setro", subject.device()]);
            let error = open(options(&subject.path), DIRECT).await.unwrap_err();
            assert_eq!(error.errno(), 30, "{error}");
            assert!(error.to_string().contains("read-only=on"), "{error}");
            let node = open(options(&subject.path), READ_ONLY).await.unwrap();
            assert_eq!(sequential(&node).await[0].write_pointer, Some(z.start + unit));
            assert_eq!(read(&node, z.start, unit).await, pattern(1, unit));
            drop(node);
            witness::run("blockdev", &["--setrw", subject.device()]);
            open_soon(options(&subject.path), DIRECT).await.unwrap();
        })
        .await;

    let subject = device.fresh();
    suite
        .case("write_protected_while_it_is_open", async move {
            let node = subject.open().await;
            let (unit, z) = (unit(&node), sequential(&node).await[0]);
            node.append(z.start, data(1, unit), NO_FLAGS).await.unwrap();
            witness::run("blockdev", &["--setro", subject.device()]);
            // Kernels differ in whether writers that are already there are stopped.
            let append = node.append(z.start, data(2, unit), NO_FLAGS).await;
            let manage = node.manage_zones(ZoneOp::Open, z.start, z.length).await;
            witness::run("blockdev", &["--setrw", subject.device()]);
            if let Err(error) = &append {
                assert_eq!(error.kind().name(), "io", "{error}");
            }
            if let Err(error) = &manage {
                assert!(matches!(error.kind().name(), "io" | "read-only"), "{error}");
            }
            let behind = z.start + if append.is_ok() { 2 * unit } else { unit };
            let at = node.append(z.start, data(3, unit), NO_FLAGS).await.unwrap();
            assert_eq!(at, behind, "the pointer is known as it is");
        })
        .await;

    let subject = device.fresh();
    suite
        .case("without_permission", async move {
            use std::os::unix::fs::PermissionsExt;
            let allow = |mode| {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(&subject.path, mode).unwrap();
            };
            allow(0o660);
            for read_only in [false, true] {
                let told = opened_by_nobody(&subject.path, read_only);
                assert!(told.starts_with("io: ") && told.contains("ermission denied"), "{told}");
                assert!(told.contains(subject.device()), "{told}");
            }
            allow(0o664);
            let told = opened_by_nobody(&subject.path, false);
            assert!(told.contains("ermission denied") && told.contains("read-only=on"), "{told}");
            assert_eq!(opened_by_nobody(&subject.path, true), "ok");
            allow(0o666);
            assert_eq!(opened_by_nobody(&subject.path, false), "ok");
            allow(0o660);
        })
        .await;

    let subject = device.fresh();
    suite
        .case("the_kernel_makes_no_partitions_of_it", async move {
            let node = subject.open_unlocked().await;
            let z = sequential(&node).await[0];
            let [start, length] = [z.start, z.length].map(|n| (n / 512).to_string());
            let made = std::process::Command::new("addpart")
                .args([subject.device(), "1", &start, &length])
                .output()
                .unwrap();
            // If one day a kernel does, such a partition is to be tested here.
            assert!(!made.status.success(), "there is a partition with zones now");
            assert_eq!(zones(&node).await.len() as u64, node.limits().zoned.unwrap().nr_zones);
        })
        .await;
}

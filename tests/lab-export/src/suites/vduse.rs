//! What only VDUSE has: drivers of the vDPA bus to choose from.

use super::PATIENCE;
use crate::disk;
use crate::door::{Door, Export};
use crate::host::{first_line, image_path, program, wait};
use crate::tools::{run, try_run};
use lab_suite::harness::Suite;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub fn run_all(suite: &mut Suite<'_>) {
    suite.blocking_case("two_devices_with_queues", PATIENCE, two_devices);
    suite.blocking_case("put_on_the_bus_by_hand", PATIENCE, by_hand);
    suite.blocking_case("killed_and_never_started_again", PATIENCE, gotten_rid_of);
    suite.blocking_case("zones_that_the_kernel_does_not_take", PATIENCE, odd_zones);
    // Without the kernel's own driver from here on.
    suite.blocking_case("no_driver", PATIENCE, no_driver);
    suite.blocking_case("a_device_for_a_vmm", PATIENCE, vhost);
    run("modprobe", &["virtio_vdpa"]);
}

/// A server of a device with a name of our choice.
pub struct Named {
    child: Child,
    pub device: Option<PathBuf>,
}

impl Named {
    pub fn start(image: &str, name: &str, more: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["export", "vduse", image, "--json", "--name", name])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ready: Value = serde_json::from_str(&first_line(&mut child).unwrap()).unwrap();
        assert_eq!((&ready["door"], &ready["name"]), (&"vduse".into(), &name.into()));
        Self { child, device: ready["device"].as_str().map(PathBuf::from) }
    }

    pub fn stop(mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        let status = wait(&mut self.child).unwrap();
        assert!(status.success(), "the server ended with {status} after SIGINT");
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        wait(&mut self.child).unwrap();
    }
}

impl Drop for Named {
    /// A case that failed leaves no server behind; the next one of this name takes the device away.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn image(zone_size: &str) -> String {
    let image = image_path();
    let path = image.to_str().unwrap();
    run(&program(), &["create", path, "--size", "48M", "--zone-size", zone_size]);
    path.to_owned()
}

fn nothing_is_left(name: &str) {
    let said = run("vdpa", &["dev", "show"]);
    assert!(!said.contains(name), "on the bus: {said}");
    for path in [format!("/dev/vduse/{name}"), format!("/run/zblk/vduse-{name}")] {
        assert!(!Path::new(&path).exists(), "{path} is left");
    }
}

fn two_devices() {
    let queues = &["--queues", "2", "--queue-size", "16"];
    let mut exports = ["4M", "8M"]
        .map(|zone_size| Export::of_zoned(Door::Vduse, image(zone_size).into(), queues));
    for (export, zones) in exports.iter().zip([12, 6]) {
        assert_eq!(disk::number(&export.device, "queue/nr_zones"), zones);
        // The guest has two processors.
        let queues =
            Path::new("/sys/class/block").join(export.device.file_name().unwrap()).join("mq");
        assert_eq!(std::fs::read_dir(queues).unwrap().count(), 2);
    }
    for export in &mut exports {
        export.stop();
    }
}

fn by_hand() {
    let export = Named::start(&image("4M"), "byhand", &["--no-attach"]);
    assert_eq!(export.device, None);
    run("vdpa", &["dev", "add", "name", "byhand", "mgmtdev", "vduse"]);
    let disks: Vec<_> = std::fs::read_dir("/sys/class/block").unwrap().flatten().collect();
    let zoned = disks.iter().filter(|disk| disk.file_name().to_string_lossy().starts_with("vd"));
    assert_eq!(zoned.count(), 1, "{disks:?}");
    export.stop();
    nothing_is_left("byhand");
}

fn gotten_rid_of() {
    let export = Named::start(&image("4M"), "left", &[]);
    export.kill();
    assert!(Path::new("/dev/vduse/left").exists(), "the kernel keeps the device");
    let export = Named::start("driver=null,size=1M", "left", &[]);
    assert_eq!(disk::number(export.device.as_deref().unwrap(), "size") * 512, 1 << 20);
    export.stop();
    nothing_is_left("left");
}

fn odd_zones() {
    refused(&image("3M"), "power of two");
}

fn no_driver() {
    run("rmmod", &["virtio_vdpa"]);
    refused(&image("4M"), "virtio_vdpa");
}

/// The export of an image ends with an error that says this.
fn refused(image: &str, expected: &str) {
    let why =
        try_run("timeout", &["60", &program(), "export", "vduse", image, "--name", "refused"]);
    let why = why.expect_err("an export");
    assert!(why.contains("exit status: 1") && why.contains(expected), "{why}");
    nothing_is_left("refused");
}

fn vhost() {
    run("modprobe", &["vhost_vdpa"]);
    let export = Named::start(&image("4M"), "vmm", &["--queues", "2"]);
    assert_eq!(export.device.as_deref(), Some(Path::new("/dev/vhost-vdpa-0")));
    let said = run("vdpa", &["dev", "show", "vmm"]);
    assert!(said.contains("type block") && said.contains("max_vqs 2"), "{said}");
    export.stop();
    nothing_is_left("vmm");
    run("rmmod", &["vhost_vdpa"]);
}

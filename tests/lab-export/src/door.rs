//! The doors through which an image becomes a block device of this kernel.

use crate::host::{self, image_path};
use crate::shape::Shape;
use crate::tools;
use crate::vhost_user;
use lab_suite::nullb::NullBlk;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A way to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// No export: the kernel's own emulation.
    NullBlk,
    Ublk,
    /// ublk with a device that outlives its server: requests wait for the next one.
    UblkRecover,
    Vduse,
    /// A disk of this guest, whose server runs outside of it.
    VhostUser,
}

impl Door {
    pub const NAMES: [&str; 5] = ["null_blk", "ublk", "ublk-recover", "vduse", "vhost-user"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "null_blk" => Some(Self::NullBlk),
            "ublk" => Some(Self::Ublk),
            "ublk-recover" => Some(Self::UblkRecover),
            "vduse" => Some(Self::Vduse),
            "vhost-user" => Some(Self::VhostUser),
            _ => None,
        }
    }

    /// Whether a server stands behind it, which can be stopped, killed and started again.
    pub fn has_server(self) -> bool {
        self != Self::NullBlk
    }

    /// Whether it takes a serial number.
    pub fn has_serial(self) -> bool {
        matches!(self, Self::Vduse | Self::VhostUser)
    }

    /// Whether the disk is the same again when a killed server's successor is there.
    pub fn comes_back(self) -> bool {
        self != Self::VhostUser
    }

    fn arguments(self, number: u32) -> Vec<String> {
        let id = number.to_string();
        match self {
            Self::NullBlk => Vec::new(),
            Self::Ublk => vec!["ublk".into(), "--id".into(), id],
            Self::UblkRecover => vec!["ublk".into(), "--recover".into(), "--id".into(), id],
            Self::Vduse => vec!["vduse".into(), "--name".into(), format!("lab{id}")],
            Self::VhostUser => {
                vec!["vhost-user".into(), "--socket".into(), vhost_user::socket(number)]
            }
        }
    }
}

/// A number that no device of this run has had, or that is free again.
fn next_number(door: Door) -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = || NEXT.fetch_add(1, Ordering::Relaxed);
    if door != Door::VhostUser {
        return next();
    }
    (0..vhost_user::SOCKETS)
        .map(|_| next())
        .find(|number| vhost_user::is_there(*number))
        .expect("a device that has not lost its server")
}

/// A device that is being exported.
pub struct Export {
    pub device: PathBuf,
    source: Source,
}

enum Source {
    NullBlk { _device: NullBlk },
    Server(Server),
}

struct Server {
    door: Door,
    number: u32,
    image: PathBuf,
    zoned: bool,
    more: Vec<String>,
    running: Option<host::Server>,
}

impl Export {
    /// Makes an empty device of this shape and exports it.
    pub fn new(door: Door, shape: &Shape) -> Self {
        if door == Door::NullBlk {
            return Self::null_blk(shape);
        }
        let image = image_path();
        create(&image, shape);
        Self::of_zoned(door, image, &[])
    }

    /// Exports an emulated device that is there, with more arguments.
    pub fn of_zoned(door: Door, image: PathBuf, more: &[&str]) -> Self {
        Self::of_image(door, image, true, more)
    }

    /// Exports an image without zones.
    pub fn of_regular(door: Door, image: PathBuf, more: &[&str]) -> Self {
        Self::of_image(door, image, false, more)
    }

    fn of_image(door: Door, image: PathBuf, zoned: bool, more: &[&str]) -> Self {
        let number = next_number(door);
        let more = more.iter().map(|&word| word.to_owned()).collect();
        let server = Server { door, number, image, zoned, more, running: None };
        let mut export = Self { device: PathBuf::new(), source: Source::Server(server) };
        export.start();
        export
    }

    fn null_blk(shape: &Shape) -> Self {
        let mib = |bytes: u64| bytes >> 20;
        let device = NullBlk::with_settings([
            ("size", mib(shape.length())),
            ("blocksize", shape.block_size.into()),
            ("memory_backed", 1),
            ("zoned", 1),
            ("zone_size", mib(shape.zone_size)),
            ("zone_capacity", mib(shape.zone_capacity)),
            ("zone_nr_conv", shape.conventional),
            ("zone_max_open", shape.max_open.into()),
            ("zone_max_active", shape.max_active.into()),
        ])
        .unwrap();
        Self { device: device.path().to_owned(), source: Source::NullBlk { _device: device } }
    }

    /// What a second server is told that wants the same name or number for another image.
    pub fn rival(&mut self) -> String {
        let server = self.server().expect("a server");
        let image = image_path();
        host::zblk(&["create", image.to_str().unwrap(), "--size", "16M", "--zone-size", "4M"]);
        let refused = refusal(server.door, server.number, &image);
        host::remove_file(&image);
        refused
    }

    /// What a server of the same image is told that comes to the device by another door.
    pub fn refused_by(&mut self, door: Door) -> String {
        let server = self.server().expect("a server");
        refusal(door, server.number, &server.image)
    }

    fn server(&mut self) -> Option<&mut Server> {
        match &mut self.source {
            Source::NullBlk { .. } => None,
            Source::Server(server) => Some(server),
        }
    }

    /// The door, if a server of ours is behind it.
    pub fn door(&self) -> Option<Door> {
        match &self.source {
            Source::NullBlk { .. } => None,
            Source::Server(server) => Some(server.door),
        }
    }

    /// The image, if there is one.
    pub fn image(&self) -> Option<&Path> {
        match &self.source {
            Source::NullBlk { .. } => None,
            Source::Server(server) => Some(&server.image),
        }
    }

    /// The image of a stopped server, for another one.
    pub fn take_image(&mut self) -> PathBuf {
        let server = self.server().expect("a server");
        assert!(server.running.is_none(), "it runs");
        std::mem::take(&mut server.image)
    }

    /// Stops the server as its user does, which must end well, and checks the image. Without a
    /// server, does nothing.
    pub fn stop(&mut self) {
        let device = self.device.clone();
        let Some(server) = self.server() else {
            return;
        };
        let running = server.running.take().expect("a server that runs");
        if server.door == Door::VhostUser {
            vhost_user::detach(server.number);
        }
        running
            .end("TERM")
            .unwrap_or_else(|how| panic!("the server ended with {how} after SIGTERM"));
        assert!(!device.exists(), "{} is still there", device.display());
        if server.zoned {
            host::zblk(&["check", server.image.to_str().unwrap()]);
        }
    }

    /// Stops the server below a disk that is in its place; the next one gets another number.
    pub fn end(&mut self) {
        let server = self.server().expect("a server");
        let running = server.running.take().expect("a server that runs");
        running
            .end("TERM")
            .unwrap_or_else(|how| panic!("the server ended with {how} after SIGTERM"));
        server.number = next_number(server.door);
    }

    /// Takes the kernel's driver from the device, and gives it back.
    pub fn change_driver(&mut self) {
        let server = self.server().expect("a server");
        let device = vhost_user::change_driver(server.number);
        self.device = device;
    }

    /// Has the server look at its image again.
    pub fn look_again(&mut self) {
        let server = self.server().expect("a server");
        server.running.as_ref().expect("a server that runs").signal("HUP");
    }

    /// Takes the server away without a word.
    pub fn kill(&mut self) {
        let server = self.server().expect("a server to kill");
        let running = server.running.take().expect("a server that runs");
        running.end("KILL").unwrap();
        // A number is free again only when nobody holds its old device open, and a file system that
        // was on it does. A front end that lost its server never comes back.
        if matches!(server.door, Door::Ublk | Door::VhostUser) {
            server.number = next_number(server.door);
        }
    }

    /// Starts a server again after [`Export::stop`] or [`Export::kill`]. The device may get another
    /// name. Without a server, forgets what the kernel has cached.
    pub fn start(&mut self) {
        match self.server() {
            None => tools::drop_caches(),
            Some(server) => self.device = server.start(),
        }
    }

    /// Stops the server, and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }
}

impl Server {
    fn start(&mut self) -> PathBuf {
        assert!(self.running.is_none(), "it runs already");
        let mut args = vec!["export".to_owned()];
        args.extend(self.door.arguments(self.number));
        args.extend([self.image.to_str().unwrap().to_owned(), "--json".to_owned()]);
        args.extend(self.more.iter().cloned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let running = host::Server::start(&args);
        let line = running.line.clone();
        self.running = Some(running);
        let device = match self.door {
            Door::VhostUser => vhost_user::attach(self.number),
            _ => {
                let ready: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|e| panic!("the server's first line is '{line}': {e}"));
                PathBuf::from(
                    ready["device"].as_str().unwrap_or_else(|| panic!("no device in {line}")),
                )
            }
        };
        assert!(device.exists(), "{} is ready and not there", device.display());
        device
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            if self.door == Door::VhostUser {
                vhost_user::try_detach(self.number);
            }
            // A case that failed may have left it in any state.
            let _ = running.end("TERM");
        }
        host::remove_file(&self.image);
    }
}

/// What a server is told that is not to be.
fn refusal(door: Door, number: u32, image: &Path) -> String {
    let mut args = vec!["export".to_owned()];
    args.extend(door.arguments(number));
    args.push(image.to_str().unwrap().to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let refused = host::try_zblk(&args).expect_err("a second server");
    assert!(refused.contains("exit status: 1"), "{refused}");
    refused
}

/// Makes the image of an empty device.
pub fn create(image: &Path, shape: &Shape) {
    let number = |n: u64| n.to_string();
    host::zblk(&[
        "create",
        image.to_str().unwrap(),
        "--size",
        &number(shape.length()),
        "--zone-size",
        &number(shape.zone_size),
        "--zone-capacity",
        &number(shape.zone_capacity),
        "--conventional",
        &number(shape.conventional),
        "--max-open",
        &number(shape.max_open.into()),
        "--max-active",
        &number(shape.max_active.into()),
        "--block-size",
        &number(shape.block_size.into()),
    ]);
}

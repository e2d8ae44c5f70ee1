//! The doors through which an image becomes a block device of this kernel.

use crate::shape::Shape;
use crate::tools;
use lab_suite::nullb::NullBlk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A way to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// No export: the kernel's own emulation.
    NullBlk,
    Ublk,
    /// ublk with a device that outlives its server: requests wait for the next one.
    UblkRecover,
    Vduse,
}

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

impl Door {
    pub const NAMES: [&str; 4] = ["null_blk", "ublk", "ublk-recover", "vduse"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "null_blk" => Some(Self::NullBlk),
            "ublk" => Some(Self::Ublk),
            "ublk-recover" => Some(Self::UblkRecover),
            "vduse" => Some(Self::Vduse),
            _ => None,
        }
    }

    /// Whether a server stands behind it, which can be stopped, killed and started again.
    pub fn has_server(self) -> bool {
        self != Self::NullBlk
    }

    /// Whether it takes a serial number.
    pub fn has_serial(self) -> bool {
        self == Self::Vduse
    }

    fn arguments(self, number: u32) -> Vec<String> {
        let id = number.to_string();
        match self {
            Self::NullBlk => Vec::new(),
            Self::Ublk => vec!["ublk".into(), "--id".into(), id],
            Self::UblkRecover => vec!["ublk".into(), "--recover".into(), "--id".into(), id],
            Self::Vduse => vec!["vduse".into(), "--name".into(), format!("lab{id}")],
        }
    }
}

/// A number that no device of this run has had.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
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
    child: Option<Child>,
}

impl Export {
    /// Makes an empty device of this shape and exports it.
    pub fn new(door: Door, shape: &Shape) -> Self {
        if door == Door::NullBlk {
            return Self::null_blk(shape);
        }
        let image = image_path();
        let number = |n: u64| n.to_string();
        tools::run(
            &zblk(),
            &[
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
            ],
        );
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
        let number = next_number();
        let more = more.iter().map(|&word| word.to_owned()).collect();
        let server = Server { door, number, image, zoned, more, child: None };
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
        tools::run(
            &zblk(),
            &["create", image.to_str().unwrap(), "--size", "16M", "--zone-size", "4M"],
        );
        let refused = refusal(server.door, server.number, &image);
        std::fs::remove_file(image).unwrap();
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
        assert!(server.child.is_none(), "it runs");
        std::mem::take(&mut server.image)
    }

    /// Stops the server as its user does, which must end well, and checks the image. Without a
    /// server, does nothing.
    pub fn stop(&mut self) {
        let device = self.device.clone();
        let Some(server) = self.server() else {
            return;
        };
        let mut child = server.child.take().expect("a server that runs");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let status = wait(&mut child);
        assert!(status.success(), "the server ended with {status} after SIGTERM");
        assert!(!device.exists(), "{} is still there", device.display());
        if server.zoned {
            tools::run(&zblk(), &["check", server.image.to_str().unwrap()]);
        }
    }

    /// Takes the server away without a word.
    pub fn kill(&mut self) {
        let server = self.server().expect("a server to kill");
        let mut child = server.child.take().expect("a server that runs");
        child.kill().unwrap();
        wait(&mut child);
        // A number is free again only when nobody holds its old device open, and a file system that
        // was on it does.
        if server.door == Door::Ublk {
            server.number = next_number();
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
        assert!(self.child.is_none(), "it runs already");
        let mut child = Command::new(zblk())
            .arg("export")
            .args(self.door.arguments(self.number))
            .arg(&self.image)
            .arg("--json")
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = first_line(&mut child);
        self.child = Some(child);
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("the server's first line is '{line}': {e}"));
        let device = ready["device"].as_str().unwrap_or_else(|| panic!("no device in {line}"));
        assert!(Path::new(device).exists(), "{device} is ready and not there");
        PathBuf::from(device)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A case that failed may have left it in any state.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(10) && matches!(child.try_wait(), Ok(None))
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

/// What a server is told that is not to be.
fn refusal(door: Door, number: u32, image: &Path) -> String {
    let mut args = vec!["60".to_owned(), zblk(), "export".to_owned()];
    args.extend(door.arguments(number));
    args.push(image.to_str().unwrap().to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let refused = tools::try_run("timeout", &args).expect_err("a second server");
    assert!(refused.contains("exit status: 1"), "{refused}");
    refused
}

/// A new place for an image, in memory.
pub fn image_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    PathBuf::from(format!("/tmp/image-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The program under test, in memory: it is started often, and large.
pub fn zblk() -> String {
    static COPY: OnceLock<String> = OnceLock::new();
    let copy = || {
        let copy = "/tmp/zblk".to_owned();
        let original = std::env::var("LAB_ZBLK").expect("LAB_ZBLK names the program");
        std::fs::copy(&original, &copy).unwrap_or_else(|e| panic!("{original}: {e}"));
        copy
    };
    COPY.get_or_init(copy).clone()
}

/// What a server says when it is ready.
pub fn first_line(server: &mut Child) -> String {
    let mut line = String::new();
    let output = server.stdout.as_mut().expect("its output is ours");
    // At the end of the process at the latest there is an end of file.
    BufReader::new(output).read_line(&mut line).unwrap();
    if line.is_empty() {
        panic!("the server ended with {} and was never ready", wait(server));
    }
    line
}

/// Waits for a server that was told to end.
pub fn wait(server: &mut Child) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = server.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "the server did not end within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Many tasks at once on one device, whose requests are given up at any moment and time out: all
//! that was acknowledged is where it was said to be, as other programs see it, too, and nothing is
//! stuck or left behind.
//!
//! Each way to the device has a seed of its own, which is printed; `LAB_SEED` repeats it, as far as
//! a kernel lets itself be repeated. `LAB_SECONDS` says how long each crowd works.

use crate::harness::Suite;
use crate::subject::{DIRECT, Device, Kind, READ_ONLY, Subject, open_soon, options};
use crate::witness::{as_reported, blkzone_report, dd_read};
use block_backend::BlockBackend;
use block_core::{Inherited, Options};
use crowd::{Counts, Crowd, Expects, Ledger};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};

const TASKS: u64 = 24;
/// How often a crowd may work once more, if something did not come up.
const ROUNDS: u32 = 5;
/// How long all that comes behind the work may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A way to the device.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    aio: &'static str,
    append: &'static str,
    locking: &'static str,
}

impl Way {
    const THREADS: Self =
        Self { name: "threads", aio: "threads", append: "emulated", locking: "on" };
    const IO_URING: Self = Self { name: "io_uring", aio: "io_uring", ..Self::THREADS };
    /// The device places the appends, beside plain writes.
    const NATIVE: Self = Self { name: "native", append: "native", locking: "off", ..Self::THREADS };
    /// Others could use the device, too.
    const SHARED: Self = Self { name: "shared", locking: "off", ..Self::THREADS };

    fn of(device: &Device) -> &'static [Self] {
        match device.kind {
            Kind::Zns | Kind::ZnsSmallBlocks => &[Self::THREADS, Self::IO_URING, Self::NATIVE],
            Kind::ScsiDebug => &[Self::THREADS, Self::IO_URING, Self::SHARED],
            Kind::NullBlk | Kind::NullBlkOdd => &[Self::THREADS, Self::IO_URING],
        }
    }

    fn options(self, subject: &Subject) -> Options {
        let options = options(&subject.path).set("aio", self.aio);
        options.set("append", self.append).set("locking", self.locking)
    }
}

pub fn run(device: &Device, suite: &mut Suite<'_>) {
    let length = Duration::from_secs(setting("LAB_SECONDS").unwrap_or(5));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (number, way) in (0..).zip(Way::of(device)) {
        let seed = setting("LAB_SEED").unwrap_or(now + number);
        let (subject, name) = (device.fresh(), device.name());
        let ended = suite.blocking_case(way.name, length * (ROUNDS + 1) + PATIENCE, move || {
            let limit = [0, 0, 7][(seed % 3) as usize];
            let told = format!("{TASKS} tasks on {name} by {}, LAB_SEED={seed}", way.name);
            match runtime(seed).block_on(session(&subject, *way, seed, limit, length)) {
                Ok(counts) => {
                    let counts: Vec<_> = counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
                    println!("{told}: {}", counts.join(", "));
                }
                Err(why) => panic!("{told}: {why}"),
            }
        });
        if !ended {
            // Its thread still uses the device.
            return;
        }
    }
}

fn runtime(seed: u64) -> Runtime {
    let mut builder = match seed % 2 {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// The kernel says what is written in each zone, and devices fill the rest as they like.
const EXPECTS: Expects = Expects { zeroes_above: false, ..Expects::ALL };

async fn open(
    subject: &Subject,
    way: Way,
    how: Inherited,
    limit: usize,
) -> Result<BlockBackend, String> {
    let node = open_soon(way.options(subject), how).await.map_err(|e| e.to_string())?;
    let builder = BlockBackend::builder().read_only(how.read_only).max_in_flight(limit);
    builder.on_node(&node).map_err(|e| e.to_string())
}

/// Everything on one device, from its opening to the last look at it.
async fn session(
    subject: &Subject,
    way: Way,
    seed: u64,
    limit: usize,
    length: Duration,
) -> Result<Counts, String> {
    let failed = |e: block_core::Error| e.to_string();
    let disk = open(subject, way, DIRECT, limit).await?;
    let crowd = Crowd::new(&disk, EXPECTS).await?;
    let mut counts = crowd.work(TASKS, seed, length).await?;
    // Longer where an emulated machine has little time: case by case, a crowd must do everything.
    for round in 1..=ROUNDS {
        if !crowd::missing(&counts).is_empty() {
            crowd::add(&mut counts, crowd.work(TASKS, seed + u64::from(round), length).await?);
        }
    }
    if !crowd::missing(&counts).is_empty() {
        return Err(format!("there was nothing of {:?}: {counts:?}", crowd::missing(&counts)));
    }
    disk.settle().await.map_err(failed)?;
    is_idle(subject, &disk).await?;
    let records = crowd.verify(&disk).await?;
    if others_see(subject, &disk, crowd.ledger()).await? != records {
        return Err("others see another number of records".to_owned());
    }
    disk.close().await.map_err(failed)?;
    drop(disk);
    is_let_go(subject).await?;
    let again = open(subject, way, READ_ONLY, 0).await?;
    if crowd.verify(&again).await? != records {
        return Err("other records than before the close".to_owned());
    }
    again.close().await.map_err(failed)?;
    counts.insert("records at the end", records);
    Ok(counts)
}

/// Nothing is counted as under way any more, by us and by the kernel.
async fn is_idle(subject: &Subject, disk: &BlockBackend) -> Result<(), String> {
    // Nothing is in flight, but what was dropped last may still be on its way out of the line.
    let guard = disk.drain().await.map_err(|e| e.to_string())?;
    if let Some(pressure) = disk.pressure()
        && (pressure.in_flight, pressure.in_flight_bytes, pressure.waiting) != (0, 0, 0)
    {
        return Err(format!("all is over, and yet there is {pressure:?}"));
    }
    drop(guard);
    let name = subject.path.file_name().unwrap().to_str().unwrap();
    let inflight = fs::read_to_string(format!("/sys/block/{name}/inflight")).unwrap();
    if inflight.split_whitespace().any(|count| count != "0") {
        return Err(format!("all is over, and the kernel has in flight: {}", inflight.trim()));
    }
    Ok(())
}

/// What blkzone and dd see is what we see, and what the ledger has. Gives how many records.
async fn others_see(
    subject: &Subject,
    disk: &BlockBackend,
    ledger: &Ledger,
) -> Result<u64, String> {
    let ours = disk.report_zones(0, usize::MAX).await.map_err(|e| e.to_string())?;
    let theirs = blkzone_report(subject.device());
    if ours.len() != theirs.len() {
        return Err(format!("{} zones, and blkzone sees {}", ours.len(), theirs.len()));
    }
    let mut records = 0;
    for (zone, reported) in ours.iter().zip(&theirs) {
        if as_reported(zone, reported) != *reported {
            return Err(format!("{zone:?}, and blkzone says {reported:?}"));
        }
        if zone.zone_type.is_sequential() {
            let bytes = match Ledger::covered(zone)? {
                0 => Vec::new(),
                len => dd_read(subject.device(), zone.start, len),
            };
            records += ledger.verify(zone, &bytes).map_err(|e| format!("seen by dd: {e}"))?;
        }
    }
    Ok(records)
}

/// The device is closed, by the threads and rings of the engine as well.
async fn is_let_go(subject: &Subject) -> Result<(), String> {
    let is_held = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|file| file == subject.path)
    };
    for _ in 0..6000 {
        if !is_held() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("closed, and yet there is a descriptor of the device".to_owned())
}

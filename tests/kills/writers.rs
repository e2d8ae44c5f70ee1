//! The record store of the example, with many writers, killed while it stores.

use crate::process::{Place, Victim, a_moment, text};
use crate::store::{Result, Store};
use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use power_cut::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;

const ZONE: u64 = 256 << 10;
const WRITERS: u64 = 8;
/// Records that may wait for a sync: a fifth of what the store holds.
const WAITING: usize = 60;
/// Kills of one image before a fresh one takes its place.
const LIVES: u64 = 40;

/// The store's own process: `record-store IMAGE SEED` stores for ever, and prints a line for each
/// sync: the records that it made durable, and those that went away with their zones.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let stored = Runtime::new().unwrap().block_on(serve(&args[0], args[1].parse().unwrap()));
    panic!("storing ended: {stored:?}");
}

async fn serve(image: &str, seed: u64) -> Result<()> {
    let store = Arc::new(Store::open(BlockBackend::open(image).await?).await?);
    // Before any writer may drop some of them.
    let mut kept: BTreeSet<u64> = store.index.lock().await.keys().copied().collect();
    let stored = Arc::new(Mutex::new(Vec::new()));
    let mut rng = Rng::new(seed);
    for _ in 0..WRITERS {
        let (store, stored, mut rng) = (Arc::clone(&store), Arc::clone(&stored), rng.fork());
        tokio::spawn(async move {
            loop {
                // Else a slow sync would see the whole store written over, promises and all.
                while stored.lock().unwrap().len() > WAITING {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                let payload = vec![rng.next() as u8; rng.below(8000) as usize];
                match store.put(&payload).await {
                    Ok(sequence) => stored.lock().unwrap().push((sequence, payload)),
                    Err(error) => {
                        println!("failed: {error}");
                        std::process::exit(3);
                    }
                }
            }
        });
    }
    loop {
        let taken = std::mem::take(&mut *stored.lock().unwrap());
        store.sync().await?;
        let index = store.index.lock().await.clone();
        let mut line = String::new();
        for gone in kept.extract_if(.., |sequence| !index.contains_key(sequence)) {
            line += &format!("-{gone} ");
        }
        for (sequence, payload) in taken {
            if let Some((at, _)) = index.get(&sequence) {
                line += &format!("{sequence}:{at}:{} ", crc32c::crc32c(&payload));
                kept.insert(sequence);
            }
        }
        let mut out = std::io::stdout();
        out.write_all((line + "\n").as_bytes())?;
        out.flush()?;
        tokio::time::sleep(std::time::Duration::from_millis(rng.below(4))).await;
    }
}

/// Kills so many times. Says what was done.
pub fn kill(mut rng: Rng, kills: u64) -> String {
    let place = Place::new();
    let runtime = Runtime::new().unwrap();
    let (mut records, mut dropped, mut images) = (0, 0, 0);
    let mut known = BTreeMap::new();
    for number in 0..kills {
        let path = place.path(&format!("store{}.zbd", number / LIVES));
        if number % LIVES == 0 {
            let geometry = GeometryConfig {
                size: 12 * ZONE,
                zone_size: ZONE,
                max_open: 3,
                ..GeometryConfig::default()
            };
            let options = CreateOptions::new(geometry);
            runtime.block_on(create_zoned(&path, &options, false)).unwrap();
            known = BTreeMap::new();
            images += 1;
        }
        let mut command = place.command("record-store");
        command.args([text(&path), &rng.next().to_string()]);
        let mut victim = Victim::start(command, "");
        let enough = rng.below(12) as usize;
        while victim.said.len() < enough && victim.listen() {}
        a_moment(&mut rng);
        let (was_alive, said) = victim.kill();
        assert!(was_alive, "the store ended by itself: {said:?}");
        for word in said.iter().flat_map(|line| line.split_whitespace()) {
            if let Some(gone) = word.strip_prefix('-') {
                known.remove(&gone.parse().unwrap());
                dropped += 1;
                continue;
            }
            let numbers: Vec<u64> = word.split(':').map(|n| n.parse().unwrap()).collect();
            known.insert(numbers[0], Record { at: numbers[1], sum: numbers[2] });
            records += 1;
        }
        place.must_be_sound(text(&path));
        let found = runtime.block_on(recover(text(&path)));
        let found = found.unwrap_or_else(|e| panic!("kill {number}: {e}"));
        dropped += compare(&known, &found);
        known = found;
    }
    assert!(dropped > 0, "no zone was ever reset");
    format!(
        "{kills} kills of {images} images, {records} records promised before them, {dropped} \
         dropped with their zones"
    )
}

/// Where a record lies, and the checksum of its payload.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    at: u64,
    sum: u64,
}

/// All records that there are. That the store opens shows that each write pointer covers whole
/// records and nothing else.
async fn recover(image: &str) -> Result<BTreeMap<u64, Record>> {
    let store = Store::open(BlockBackend::open(image).await?).await?;
    let index = store.index.lock().await.clone();
    let mut found = BTreeMap::new();
    for (sequence, (at, _)) in index {
        let payload = store.get(sequence).await?.ok_or("a record went away")?;
        found.insert(sequence, Record { at, sum: crc32c::crc32c(&payload).into() });
    }
    // No close: what it leaves is one more thing to live with.
    Ok(found)
}

/// Whatever was promised is there, but for whole zones that were reset since the last promise: those
/// with the oldest records. How many records went with them.
fn compare(known: &BTreeMap<u64, Record>, found: &BTreeMap<u64, Record>) -> usize {
    // Zones by their oldest record.
    let mut zones: Vec<(u64, Vec<u64>)> = Vec::new();
    for (sequence, record) in known {
        let zone = record.at / ZONE;
        match zones.iter_mut().find(|(number, _)| *number == zone) {
            Some((_, sequences)) => sequences.push(*sequence),
            None => zones.push((zone, vec![*sequence])),
        }
    }
    let mut dropped = 0;
    let mut may_be_reset = true;
    for (zone, sequences) in &zones {
        let is_there = |s: &&u64| found.get(s) == known.get(s);
        let there = sequences.iter().filter(is_there).count();
        if there == 0 && may_be_reset {
            dropped += sequences.len();
            continue;
        }
        may_be_reset = false;
        let lost: Vec<_> = sequences.iter().filter(|s| !is_there(s)).collect();
        assert!(lost.is_empty(), "zone {zone}: {lost:?} are lost, of {sequences:?}");
    }
    assert!(known.is_empty() || dropped < known.len(), "everything that was promised is gone");
    dropped
}

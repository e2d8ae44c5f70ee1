//! The store: an append-only log of records over all zones of a device.

use block_backend::{BlockBackend, ErrorKind, Zone};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, RwLock};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub struct Store {
    pub disk: BlockBackend,
    /// Sequence number → where its record starts, and how long it is.
    pub index: Mutex<BTreeMap<u64, (u64, usize)>>,
    next: AtomicU64,
    /// The zone that takes appends. Writers share it; only moving on to another is exclusive.
    active: RwLock<u64>,
}

impl Store {
    /// Opens the store and finds all records again: a zone holds whole records up to its write
    /// pointer, and nothing behind it.
    pub async fn open(disk: BlockBackend) -> Result<Self> {
        let mut index = BTreeMap::new();
        let mut active = 0;
        for zone in disk.report_zones(0, usize::MAX).await? {
            let end = zone.write_pointer.unwrap_or(zone.start).min(zone.writable_end());
            let mut at = zone.start;
            while at < end {
                let len = record_len(&disk.read(at, HEADER_BLOCK).await?).ok_or("no record")?;
                let (sequence, _) = decode(disk.read(at, len).await?).ok_or("damaged record")?;
                index.insert(sequence, (at, len));
                at += len as u64;
            }
            if zone.write_pointer.is_some() && end < zone.writable_end() {
                active = zone.start;
            }
        }
        let next = AtomicU64::new(index.keys().next_back().map_or(0, |last| last + 1));
        Ok(Self { disk, index: Mutex::new(index), next, active: RwLock::new(active) })
    }

    /// Stores a record and returns its sequence number. Appends of several writers that meet go
    /// to the disk together.
    pub async fn put(&self, payload: &[u8]) -> Result<u64> {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let record = encode(sequence, payload);
        loop {
            let active = self.active.read().await;
            match self.disk.append(*active, record.clone()).await {
                Ok(at) => {
                    self.index.lock().await.insert(sequence, (at, record.len()));
                    return Ok(sequence);
                }
                Err(error) => match error.kind() {
                    ErrorKind::ZoneFull { .. } => {
                        let full = *active;
                        drop(active);
                        self.move_on(full).await?;
                    }
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Takes an empty zone for the next appends, or else the one with the oldest records.
    async fn move_on(&self, full: u64) -> Result<()> {
        let mut active = self.active.write().await;
        if *active != full {
            return Ok(()); // Another writer was faster.
        }
        let zones = self.disk.report_zones(0, usize::MAX).await?;
        if let Some(empty) = zones.iter().find(|z| z.write_pointer == Some(z.start)) {
            *active = empty.start;
            return Ok(());
        }
        let mut index = self.index.lock().await;
        let (oldest, _) = index.values().next().copied().ok_or("no zone can be used")?;
        let holds = |z: &&Zone| (z.start..z.end()).contains(&oldest);
        let zone = zones.iter().find(holds).ok_or("a record outside all zones")?;
        index.retain(|_, (at, _)| !(zone.start..zone.end()).contains(at));
        self.disk.reset_zones(zone.start, zone.length).await?;
        *active = zone.start;
        Ok(())
    }

    /// The payload of a record; `None` if it was dropped with its zone.
    pub async fn get(&self, sequence: u64) -> Result<Option<Bytes>> {
        let place = self.index.lock().await.get(&sequence).copied();
        let Some((at, len)) = place else {
            return Ok(None);
        };
        let found = decode(self.disk.read(at, len).await?);
        // Another sequence number, or none: the zone was reset while we read.
        Ok(found.filter(|(s, _)| *s == sequence).map(|(_, payload)| payload))
    }

    /// Makes every record durable whose `put` has returned.
    pub async fn sync(&self) -> Result<()> {
        Ok(self.disk.flush().await?)
    }
}

// A record: magic, sequence number, payload length, checksum, payload; padded to whole blocks.
const MAGIC: u64 = u64::from_be_bytes(*b"a record");
const HEADER: usize = 8 + 8 + 8 + 4;
/// The largest block size that the store expects; a header never crosses it.
const HEADER_BLOCK: usize = 4096;

fn encode(sequence: u64, payload: &[u8]) -> Bytes {
    let mut record = BytesMut::with_capacity(HEADER + payload.len() + HEADER_BLOCK);
    record.put_u64_le(MAGIC);
    record.put_u64_le(sequence);
    record.put_u64_le(payload.len() as u64);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&record), payload);
    record.put_u32_le(checksum);
    record.put_slice(payload);
    record.resize(record.len().next_multiple_of(HEADER_BLOCK), 0);
    record.freeze()
}

/// The length on disk of the record that starts here.
fn record_len(mut head: &[u8]) -> Option<usize> {
    let (magic, _, len) =
        (head.try_get_u64_le().ok()?, head.try_get_u64_le().ok()?, head.try_get_u64_le().ok()?);
    let len = usize::try_from(len).ok()?.checked_add(HEADER)?;
    (magic == MAGIC).then(|| len.next_multiple_of(HEADER_BLOCK))
}

/// Sequence number and payload of a whole record.
fn decode(record: Bytes) -> Option<(u64, Bytes)> {
    let mut fields = record.clone();
    let (magic, sequence) = (fields.try_get_u64_le().ok()?, fields.try_get_u64_le().ok()?);
    let len = usize::try_from(fields.try_get_u64_le().ok()?).ok()?;
    let checksum = fields.try_get_u32_le().ok()?;
    let payload = (len <= fields.len()).then(|| fields.split_to(len))?;
    let sum = crc32c::crc32c_append(crc32c::crc32c(record.get(..HEADER - 4)?), &payload);
    (magic == MAGIC && checksum == sum).then_some((sequence, payload))
}

//! A zoned device as plainly as it can be written down.
//!
//! This is the specification that the property tests hold the crate against. It knows nothing of
//! the crate: it keeps a list of zones, finds everything by looking at all of them, counts again
//! each time, computes in `i128`, where nothing overflows, and makes a management request of many
//! zones by trying it, zone by zone, on a copy.

mod manage;
mod view;

use block_core::{ErrorKind, ZoneCondition, ZoneId};

#[derive(Clone, Debug)]
struct NaiveZone {
    start: i128,
    end: i128,
    writable_end: i128,
    conventional: bool,
    condition: ZoneCondition,
    /// Bytes of data from the start.
    data: i128,
    /// A write was started and its end is not known.
    writing: bool,
    /// When the last write started, as the number of writes before it.
    last_write: i128,
}

/// The plain numbers that make a device.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub size: i128,
    pub zone_size: i128,
    pub capacity: i128,
    pub conventional: i128,
    pub block: i128,
    pub max_open: i128,
    pub max_active: i128,
    pub max_append: i128,
}

#[derive(Clone, Debug)]
pub struct Naive {
    numbers: Numbers,
    zones: Vec<NaiveZone>,
    writes: i128,
}

/// Zone, position, length, and the zone that had to be closed.
pub type Landed = (u64, u64, u64, Option<u64>);

fn out(number: i128) -> u64 {
    u64::try_from(number).unwrap()
}

impl Naive {
    pub fn new(numbers: Numbers) -> Self {
        let mut zones = Vec::new();
        let mut start = 0;
        while start < numbers.size {
            let end = i128::min(start + numbers.zone_size, numbers.size);
            let number = i128::try_from(zones.len()).unwrap();
            let conventional = number < numbers.conventional;
            let writable_end =
                if conventional { end } else { i128::min(start + numbers.capacity, end) };
            let condition =
                if conventional { ZoneCondition::NotWritePointer } else { ZoneCondition::Empty };
            zones.push(NaiveZone {
                start,
                end,
                writable_end,
                conventional,
                condition,
                data: 0,
                writing: false,
                last_write: 0,
            });
            start = end;
        }
        Self { numbers, zones, writes: 0 }
    }

    pub fn count(&self) -> usize {
        self.zones.len()
    }

    fn id(&self, i: usize) -> ZoneId {
        ZoneId { index: u64::try_from(i).unwrap(), start: out(self.zones[i].start) }
    }

    fn find(&self, offset: i128) -> Option<usize> {
        self.zones.iter().position(|zone| zone.start <= offset && offset < zone.end)
    }

    pub fn open(&self) -> i128 {
        let open = self.zones.iter().filter(|zone| zone.condition.is_open());
        i128::try_from(open.count()).unwrap()
    }

    pub fn active(&self) -> i128 {
        let active = self.zones.iter().filter(|zone| zone.condition.is_active());
        i128::try_from(active.count()).unwrap()
    }

    /// An open zone is active, so a limit of active zones limits the open ones too.
    pub fn open_limit(&self) -> i128 {
        if self.numbers.max_open == 0 { self.numbers.max_active } else { self.numbers.max_open }
    }

    fn out_of_range(&self) -> ErrorKind {
        ErrorKind::OutOfRange { length: out(self.numbers.size) }
    }

    fn misaligned(what: &'static str, given: i128, required: i128) -> ErrorKind {
        ErrorKind::Misaligned { what, given: out(given), required: out(required) }
    }

    fn full(&self, i: usize, needed: i128, remaining: i128) -> ErrorKind {
        ErrorKind::ZoneFull { zone: self.id(i), needed: out(needed), remaining: out(remaining) }
    }

    /// The active resource that an empty zone needs.
    fn need_active(&self, i: usize) -> Result<(), ErrorKind> {
        let limit = self.numbers.max_active;
        if limit != 0 && self.active() >= limit {
            return Err(ErrorKind::TooManyActive {
                zone: self.id(i),
                limit: u32::try_from(limit).unwrap(),
            });
        }
        Ok(())
    }

    /// The open resource that an empty or closed zone needs: nothing if one is free, otherwise the
    /// implicitly open zone that was written longest ago has to give up its own.
    fn need_open(&self, i: usize) -> Result<Option<usize>, ErrorKind> {
        let limit = self.open_limit();
        if limit == 0 || self.open() < limit {
            return Ok(None);
        }
        let mut oldest: Option<usize> = None;
        for (j, zone) in self.zones.iter().enumerate() {
            if zone.condition == ZoneCondition::ImplicitOpen
                && oldest.is_none_or(|o| zone.last_write < self.zones[o].last_write)
            {
                oldest = Some(j);
            }
        }
        match oldest {
            Some(j) => Ok(Some(j)),
            None => Err(ErrorKind::TooManyOpen {
                zone: self.id(i),
                limit: u32::try_from(limit).unwrap(),
            }),
        }
    }

    fn close_one(&mut self, i: usize) {
        let zone = &mut self.zones[i];
        if zone.condition.is_open() {
            zone.condition = if zone.data == 0 && !zone.writing {
                ZoneCondition::Empty
            } else {
                ZoneCondition::Closed
            };
        }
    }

    /// Opens a zone that is not full, read-only, offline or conventional.
    fn open_one(&mut self, i: usize, to: ZoneCondition) -> Result<Option<usize>, ErrorKind> {
        let mut victim = None;
        if self.zones[i].condition == ZoneCondition::Empty {
            self.need_active(i)?;
        }
        if !self.zones[i].condition.is_open() {
            victim = self.need_open(i)?;
        }
        if let Some(j) = victim {
            self.close_one(j);
        }
        if self.zones[i].condition != ZoneCondition::ExplicitOpen {
            self.zones[i].condition = to;
        }
        Ok(victim)
    }

    fn begin(&mut self, i: usize, len: i128) -> Result<Landed, ErrorKind> {
        let victim = self.open_one(i, ZoneCondition::ImplicitOpen)?;
        self.writes += 1;
        let zone = &mut self.zones[i];
        zone.writing = true;
        zone.last_write = self.writes;
        let position = out(zone.start + zone.data);
        let victim = victim.map(|j| u64::try_from(j).unwrap());
        Ok((u64::try_from(i).unwrap(), position, out(len), victim))
    }

    pub fn start_write(&mut self, offset: u64, len: u64) -> Result<Landed, ErrorKind> {
        let (offset, len, block) = (i128::from(offset), i128::from(len), self.numbers.block);
        if len == 0 || len % block != 0 {
            return Err(Self::misaligned("length", len, block));
        }
        if offset % block != 0 {
            return Err(Self::misaligned("offset", offset, block));
        }
        let end = offset + len;
        if end > self.numbers.size {
            return Err(self.out_of_range());
        }
        let i = self.find(offset).unwrap();
        let zone = &self.zones[i];
        if zone.conventional {
            let hit = |z: &&NaiveZone| !z.conventional && z.start < end && z.start >= offset;
            if let Some(other) = self.zones.iter().find(hit) {
                return Err(ErrorKind::ZoneBoundary {
                    zone: self.id(i),
                    boundary: out(other.start),
                });
            }
            return Ok((u64::try_from(i).unwrap(), out(offset), out(len), None));
        }
        let is_full = zone.condition == ZoneCondition::Full;
        if offset < zone.writable_end && end > zone.writable_end && !is_full {
            return Err(ErrorKind::ZoneBoundary {
                zone: self.id(i),
                boundary: out(zone.writable_end),
            });
        }
        self.must_be_usable(i)?;
        if is_full {
            return Err(self.full(i, len, 0));
        }
        if offset != zone.start + zone.data {
            return Err(ErrorKind::WritePointerMismatch {
                zone: self.id(i),
                expected: out(zone.start + zone.data),
                given: out(offset),
            });
        }
        self.begin(i, len)
    }

    pub fn start_append(&mut self, zone_start: u64, len: u64) -> Result<Landed, ErrorKind> {
        let (offset, len) = (i128::from(zone_start), i128::from(len));
        let Numbers { block, zone_size, max_append, .. } = self.numbers;
        if offset % zone_size != 0 {
            return Err(Self::misaligned("zone offset", offset, zone_size));
        }
        if len == 0 || len % block != 0 {
            return Err(Self::misaligned("length", len, block));
        }
        let Some(i) = self.find(offset) else {
            return Err(self.out_of_range());
        };
        if max_append != 0 && len > max_append {
            return Err(ErrorKind::AppendTooLarge { given: out(len), limit: out(max_append) });
        }
        if self.zones[i].conventional {
            return Err(ErrorKind::ConventionalZone { zone: self.id(i) });
        }
        self.must_be_usable(i)?;
        let zone = &self.zones[i];
        let mut room = zone.writable_end - zone.start - zone.data;
        if zone.condition == ZoneCondition::Full {
            room = 0;
        }
        if len > room {
            return Err(self.full(i, len, room));
        }
        self.begin(i, len)
    }

    fn must_be_usable(&self, i: usize) -> Result<(), ErrorKind> {
        match self.zones[i].condition {
            ZoneCondition::Offline => Err(ErrorKind::ZoneOffline { zone: self.id(i) }),
            ZoneCondition::ReadOnly => Err(ErrorKind::ZoneReadOnly { zone: self.id(i) }),
            _ => Ok(()),
        }
    }

    /// The first `len` bytes of the started write, in whole blocks, are data now.
    pub fn complete(&mut self, index: u64, len: u64) {
        let block = self.numbers.block;
        let Some(zone) = usize::try_from(index).ok().and_then(|i| self.zones.get_mut(i)) else {
            return;
        };
        if !zone.writing {
            return;
        }
        zone.writing = false;
        let capacity = zone.writable_end - zone.start;
        zone.data = i128::min(zone.data + i128::from(len) / block * block, capacity);
        if zone.condition.is_active() {
            if zone.data == capacity {
                zone.condition = ZoneCondition::Full;
            } else if zone.data == 0 && zone.condition != ZoneCondition::ExplicitOpen {
                zone.condition = ZoneCondition::Empty;
            }
        }
    }
}

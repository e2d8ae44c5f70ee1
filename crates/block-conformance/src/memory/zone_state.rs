//! The zones of a device in memory: a plain list, and the rules.

use super::zoned::MemoryZonedConfig;
use block_core::{ErrorKind, Zone, ZoneCondition, ZoneId, ZoneOp, ZoneType};

type Result<T> = std::result::Result<T, ErrorKind>;

/// One zone.
#[derive(Clone, Copy, Debug)]
struct State {
    condition: ZoneCondition,
    /// Bytes of data from the zone's start.
    written: u64,
    /// When it was last written, to find the one to close implicitly.
    stamp: u64,
}

/// All zones. A call that answers with an error may have changed it: work on a copy.
#[derive(Clone, Debug)]
pub(super) struct Zones {
    config: MemoryZonedConfig,
    states: Vec<State>,
    clock: u64,
}

impl Zones {
    pub(super) fn new(config: MemoryZonedConfig) -> Self {
        let count = config.length.div_ceil(config.zone_size);
        let state = |index| State {
            condition: if index < config.conventional {
                ZoneCondition::NotWritePointer
            } else {
                ZoneCondition::Empty
            },
            written: 0,
            stamp: 0,
        };
        Self { config, states: (0..count).map(state).collect(), clock: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.states.len()
    }

    /// What a device knows after a restart: nothing of open zones.
    pub(super) fn restart(&mut self) {
        for index in 0..self.count() {
            if self.states[index].condition.is_open() {
                self.close(index);
            }
        }
    }

    pub(super) fn index_of(&self, offset: u64) -> usize {
        (offset / self.config.zone_size) as usize
    }

    pub(super) fn zone(&self, index: usize) -> Zone {
        let State { condition, written, .. } = self.states[index];
        let start = index as u64 * self.config.zone_size;
        let length = self.config.zone_size.min(self.config.length - start);
        let conventional = (index as u64) < self.config.conventional;
        Zone {
            start,
            length,
            capacity: match conventional {
                true => length,
                false => self.config.zone_capacity.min(length),
            },
            write_pointer: match condition {
                ZoneCondition::Full => Some(start + length),
                c if c == ZoneCondition::Empty || c.is_active() => Some(start + written),
                _ => None,
            },
            zone_type: match conventional {
                true => ZoneType::Conventional,
                false => ZoneType::SequentialWriteRequired,
            },
            condition,
        }
    }

    pub(super) fn set_condition(&mut self, index: usize, to: ZoneCondition) {
        self.states[index].condition = to;
    }

    fn id(&self, index: usize) -> ZoneId {
        ZoneId { index: index as u64, start: self.zone(index).start }
    }

    /// Where a write may go, given as offset and length; moves the pointer.
    pub(super) fn write(&mut self, offset: u64, len: u64) -> Result<()> {
        let index = self.index_of(offset);
        let (zone, id) = (self.zone(index), self.id(index));
        let end = offset + len;
        if zone.zone_type == ZoneType::Conventional {
            let boundary = self.config.conventional * self.config.zone_size;
            return match end <= boundary {
                true => Ok(()),
                false => Err(ErrorKind::ZoneBoundary { zone: id, boundary }),
            };
        }
        let boundary = zone.writable_end();
        let full = zone.condition == ZoneCondition::Full;
        if !full && offset < boundary && end > boundary {
            return Err(ErrorKind::ZoneBoundary { zone: id, boundary });
        }
        self.check_usable(index)?;
        if full {
            return Err(full_zone(id, len, 0));
        }
        let expected = zone.start + self.states[index].written;
        if offset != expected {
            return Err(ErrorKind::WritePointerMismatch { zone: id, expected, given: offset });
        }
        self.advance(index, len)
    }

    /// Where an append goes; moves the pointer.
    pub(super) fn append(&mut self, zone_start: u64, len: u64) -> Result<u64> {
        let limit = self.config.max_append_bytes;
        if limit != 0 && len > limit {
            return Err(ErrorKind::AppendTooLarge { given: len, limit });
        }
        let (size, block) = (self.config.zone_size, u64::from(self.config.block_size));
        check_multiple("zone offset", zone_start, size)?;
        check_multiple("length", len, block)?;
        let index = self.index_of(zone_start);
        let (zone, id) = (self.zone(index), self.id(index));
        self.check_usable(index)?;
        let remaining = match zone.condition {
            ZoneCondition::Full => 0,
            _ => zone.capacity - self.states[index].written,
        };
        if len > remaining {
            return Err(full_zone(id, len, remaining));
        }
        let position = zone.start + self.states[index].written;
        self.advance(index, len)?;
        Ok(position)
    }

    fn advance(&mut self, index: usize, len: u64) -> Result<()> {
        if !self.states[index].condition.is_open() {
            self.open(index, ZoneCondition::ImplicitOpen)?;
        }
        self.clock += 1;
        let (clock, capacity) = (self.clock, self.zone(index).capacity);
        let state = &mut self.states[index];
        state.stamp = clock;
        state.written += len;
        if state.written == capacity {
            state.condition = ZoneCondition::Full;
        }
        Ok(())
    }

    /// Changes the condition of zones; gives those that lost their data.
    pub(super) fn manage(&mut self, op: ZoneOp, offset: u64, len: u64) -> Result<Vec<usize>> {
        let whole = offset == 0 && len == self.config.length;
        let mut reset = Vec::new();
        for index in self.index_of(offset)..self.index_of(offset + len - 1) + 1 {
            match self.check_usable(index) {
                Ok(()) => {}
                Err(_) if whole => continue,
                Err(refusal) => return Err(refusal),
            }
            match op {
                ZoneOp::Open => self.open(index, ZoneCondition::ExplicitOpen)?,
                ZoneOp::Close => self.close(index),
                ZoneOp::Finish => self.finish(index)?,
                ZoneOp::Reset => {
                    self.states[index] =
                        State { condition: ZoneCondition::Empty, written: 0, stamp: 0 };
                    reset.push(index);
                }
            }
        }
        Ok(reset)
    }

    fn open(&mut self, index: usize, to: ZoneCondition) -> Result<()> {
        match self.states[index].condition {
            ZoneCondition::Full => return Err(full_zone(self.id(index), 0, 0)),
            from if from.is_open() => {}
            from => {
                self.take_resources(index, from)?;
            }
        }
        if self.states[index].condition != ZoneCondition::ExplicitOpen {
            self.states[index].condition = to;
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        let state = &mut self.states[index];
        if state.condition.is_open() {
            state.condition = match state.written {
                0 => ZoneCondition::Empty,
                _ => ZoneCondition::Closed,
            };
        }
    }

    fn finish(&mut self, index: usize) -> Result<()> {
        if self.states[index].condition == ZoneCondition::Empty {
            self.take_resources(index, ZoneCondition::Empty)?;
        }
        self.states[index].condition = ZoneCondition::Full;
        Ok(())
    }

    /// Checks the limits for one more open zone, and closes one implicitly to make room.
    fn take_resources(&mut self, index: usize, from: ZoneCondition) -> Result<()> {
        let zone = self.id(index);
        let count = |test: fn(ZoneCondition) -> bool| {
            let states = self.states.iter();
            states.filter(|s| test(s.condition)).count() as u32
        };
        let limit = self.config.max_active_zones;
        if from == ZoneCondition::Empty && limit != 0 && count(ZoneCondition::is_active) >= limit {
            return Err(ErrorKind::TooManyActive { zone, limit });
        }
        let limit = self.config.max_open_zones;
        if limit == 0 || count(ZoneCondition::is_open) < limit {
            return Ok(());
        }
        let implicit = (0..self.count())
            .filter(|&i| self.states[i].condition == ZoneCondition::ImplicitOpen)
            .min_by_key(|&i| self.states[i].stamp);
        match implicit {
            Some(victim) => self.close(victim),
            None => return Err(ErrorKind::TooManyOpen { zone, limit }),
        }
        Ok(())
    }

    fn check_usable(&self, index: usize) -> Result<()> {
        let zone = self.id(index);
        match self.states[index].condition {
            ZoneCondition::NotWritePointer => Err(ErrorKind::ConventionalZone { zone }),
            ZoneCondition::Offline => Err(ErrorKind::ZoneOffline { zone }),
            ZoneCondition::ReadOnly => Err(ErrorKind::ZoneReadOnly { zone }),
            _ => Ok(()),
        }
    }
}

fn full_zone(zone: ZoneId, needed: u64, remaining: u64) -> ErrorKind {
    ErrorKind::ZoneFull { zone, needed, remaining }
}

fn check_multiple(what: &'static str, given: u64, required: u64) -> Result<()> {
    if given.is_multiple_of(required) && (given > 0 || what == "zone offset") {
        return Ok(());
    }
    Err(ErrorKind::Misaligned { what, given, required })
}

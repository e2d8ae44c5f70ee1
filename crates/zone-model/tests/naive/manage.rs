//! Management of zones, by trying it on a copy.

use super::Naive;
use block_core::{ErrorKind, ZoneCondition, ZoneOp};

impl Naive {
    /// From bytes to zones: first and one past the last.
    pub fn zone_range(&self, offset: u64, len: u64) -> Result<(u64, u64), ErrorKind> {
        let (offset, len, size) = (i128::from(offset), i128::from(len), self.numbers.zone_size);
        if offset % size != 0 {
            return Err(Self::misaligned("zone offset", offset, size));
        }
        if len == 0 {
            return Err(Self::misaligned("length", 0, size));
        }
        if offset + len > self.numbers.size {
            return Err(self.out_of_range());
        }
        if offset + len < self.numbers.size && len % size != 0 {
            return Err(Self::misaligned("length", len, size));
        }
        let first = self.find(offset).unwrap();
        let last = self.find(offset + len - 1).unwrap();
        Ok((u64::try_from(first).unwrap(), u64::try_from(last + 1).unwrap()))
    }

    fn manage_one(&mut self, op: ZoneOp, i: usize) -> Result<(), ErrorKind> {
        if self.zones[i].conventional {
            return Err(ErrorKind::ConventionalZone { zone: self.id(i) });
        }
        self.must_be_usable(i)?;
        match op {
            ZoneOp::Open => {
                if self.zones[i].condition == ZoneCondition::Full {
                    return Err(self.full(i, 0, 0));
                }
                self.open_one(i, ZoneCondition::ExplicitOpen)?;
            }
            ZoneOp::Close => self.close_one(i),
            ZoneOp::Finish => {
                if self.zones[i].condition == ZoneCondition::Empty {
                    self.need_active(i)?;
                    self.need_open(i)?;
                }
                self.zones[i].condition = ZoneCondition::Full;
            }
            ZoneOp::Reset => self.set_condition_of(i, ZoneCondition::Empty),
        }
        Ok(())
    }

    /// All zones or none; gives those whose condition changed.
    pub fn manage(&mut self, op: ZoneOp, first: u64, end: u64) -> Result<Vec<u64>, ErrorKind> {
        let count = u64::try_from(self.zones.len()).unwrap();
        if end > count || first >= end {
            return Err(self.out_of_range());
        }
        let whole = first == 0 && end == count;
        let mut after = self.clone();
        for index in first..end {
            let i = usize::try_from(index).unwrap();
            let zone = &self.zones[i];
            let skip = zone.conventional
                || zone.condition == ZoneCondition::ReadOnly
                || zone.condition == ZoneCondition::Offline;
            if !(whole && skip) {
                after.manage_one(op, i)?;
            }
        }
        let changed = |index: &u64| {
            let i = usize::try_from(*index).unwrap();
            self.zones[i].condition != after.zones[i].condition
        };
        let changed = (first..end).filter(changed).collect();
        *self = after;
        Ok(changed)
    }

    fn set_condition_of(&mut self, i: usize, to: ZoneCondition) {
        let zone = &mut self.zones[i];
        zone.condition = to;
        if to == ZoneCondition::Empty {
            zone.data = 0;
            zone.writing = false;
        }
    }

    pub fn set_condition(&mut self, index: u64, to: ZoneCondition) -> Result<(), ErrorKind> {
        let i = usize::try_from(index).unwrap_or(usize::MAX);
        if i >= self.zones.len() {
            return Err(self.out_of_range());
        }
        if self.zones[i].conventional {
            return Err(ErrorKind::ConventionalZone { zone: self.id(i) });
        }
        match to {
            ZoneCondition::Empty
            | ZoneCondition::Full
            | ZoneCondition::ReadOnly
            | ZoneCondition::Offline => self.set_condition_of(i, to),
            _ => return Err(ErrorKind::InvalidOption(String::new())),
        }
        Ok(())
    }
}

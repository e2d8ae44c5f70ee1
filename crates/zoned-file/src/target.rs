//! The emulated zones as the queues see them.

use crate::device::Device;
use block_core::{Error, ErrorKind, RequestFlags, Result};
use zone_queue::{Aftermath, Payload, ZoneTarget};

impl ZoneTarget for Device {
    fn admit(&self, zone: u64, at: Option<u64>, len: u64, ahead: u64) -> Result<u64> {
        let mut model = self.model();
        let Some(span) = self.geometry().span(zone) else {
            return Err(ErrorKind::OutOfRange { length: self.geometry().size() }.into());
        };
        let started = match at {
            Some(offset) => model.start_write_behind(ahead, offset, len),
            None => model.start_append_behind(ahead, span.start, len),
        };
        let end = started.as_ref().map_or(0, |s| s.position.saturating_add(s.len));
        if let Err(refusal) = self.check_file_length(end) {
            if ahead == 0 {
                model.complete_write(zone, 0);
            }
            return Err(refusal);
        }
        Ok(started?.position)
    }

    async fn write(&self, _: u64, position: u64, payload: Payload) -> Result<()> {
        let place = self.header.layout.data(position);
        match payload {
            Payload::Data(bufs) => self.child.write(place, bufs, RequestFlags::empty()).await,
            // Durable or not is decided with the pointer, after the write.
            Payload::Zeroes(len, flags) => {
                let flags = (flags | RequestFlags::MAY_UNMAP) - RequestFlags::FUA;
                self.child.write_zeroes(place, len, flags).await
            }
        }
    }

    fn landed(&self, zone: u64, _: u64, len: u64) {
        self.model().complete_write(zone, len);
        self.publish(zone);
        self.mark_dirty(zone);
    }

    async fn after_error(&self, zone: u64, _: u64, _: u64, _: &Error) -> Result<Aftermath> {
        // Where the pointer stands is for this device alone to say: what a failed write left
        // above it is not data.
        self.model().complete_write(zone, 0);
        Ok(Aftermath::default())
    }

    async fn recover(&self, zone: u64) -> Result<()> {
        // A write that was cut off may still be on its way to the place of the next one.
        self.child.settle().await?;
        self.model().complete_write(zone, 0);
        Ok(())
    }
}

impl Device {
    /// Refuses what lies behind the end of a file that is shorter than the device, because no
    /// longer one was possible when it was made.
    fn check_file_length(&self, end: u64) -> Result<()> {
        if self.header.layout.data(end) <= self.header.file_length {
            return Ok(());
        }
        Err(ErrorKind::NoSpace(format!(
            "the image file ends at {:#x}, because the file system it was made on holds no longer \
             files; this zone lies behind that",
            self.header.file_length
        ))
        .into())
    }
}

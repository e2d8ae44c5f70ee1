//! What one front end says, message by message.

use crate::channel::Channel;
use crate::guest::{Guest, MAX_REGIONS};
use crate::inflight::Records;
use crate::ring::{MAX_SIZE, Ring, Surroundings};
use crate::worker::Worker;
use block_export::Export;
use std::fs::File;
use std::sync::Arc;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Error, GpuBackend, Result, VhostUserBackendReqHandlerMut, VhostUserProtocolFeatures,
    VhostUserVirtioFeatures,
};
use virtio_blk::{Device, Negotiated, config, features};

/// A front end's device, from its first message to its last.
pub(crate) struct Session {
    export: Export,
    workers: Arc<[Worker]>,
    guest: Guest,
    rings: Vec<Ring>,
    records: Option<Records>,
    device: Option<Device>,
    /// Whether the driver made its choice, and did not choose `VIRTIO_BLK_F_ZONED`.
    without_zones: bool,
    write_through: bool,
    /// What of vhost-user's own was agreed on.
    protocol: VhostUserProtocolFeatures,
    /// What the front end brought to be told by.
    channel: Arc<Channel>,
}

const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// The largest configuration space that a message carries.
const MAX_CONFIG: usize = 256;

impl Session {
    pub(crate) fn new(
        export: Export,
        workers: Arc<[Worker]>,
        write_through: bool,
        channel: Arc<Channel>,
    ) -> Self {
        let rings = workers.iter().map(|_| Ring::default()).collect();
        Self {
            export,
            workers,
            guest: Guest::default(),
            rings,
            records: None,
            device: None,
            without_zones: false,
            write_through,
            protocol: VhostUserProtocolFeatures::empty(),
            channel,
        }
    }

    /// Whether this of vhost-user's own was agreed on.
    pub(crate) fn agreed(&self, feature: VhostUserProtocolFeatures) -> bool {
        self.protocol.contains(feature)
    }

    /// Holds the channel to the front end, instead of the one that was.
    pub(crate) fn hold_channel(&mut self, channel: File) {
        self.channel.hold(channel);
        if self.is_used() {
            self.channel.make_up();
        }
    }

    fn is_used(&self) -> bool {
        self.rings.iter().any(Ring::is_running)
    }

    fn offered(&self) -> u64 {
        let all = features::offered(self.export.characteristics()) | PROTOCOL_FEATURES;
        if self.write_through { all & !features::FLUSH } else { all }
    }

    fn queues(&self) -> u16 {
        u16::try_from(self.rings.len()).unwrap_or(u16::MAX)
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        let index = usize::try_from(index).map_err(|_| Error::InvalidParam)?;
        self.rings.get_mut(index).ok_or(Error::InvalidOperation("no such queue"))
    }

    /// A setting that a queue cannot change while it runs.
    fn stopped_ring(&mut self, index: u32) -> Result<&mut Ring> {
        let ring = self.ring(index)?;
        ring.stop_if_off();
        if ring.is_running() {
            return Err(Error::InvalidOperation("the queue runs"));
        }
        Ok(ring)
    }

    /// Starts a queue of which all is said.
    fn start_if_ready(&mut self, index: u32) -> Result<()> {
        let index = usize::try_from(index).map_err(|_| Error::InvalidParam)?;
        let begins = !self.is_used();
        let (Some(ring), Some(worker)) = (self.rings.get_mut(index), self.workers.get(index))
        else {
            return Err(Error::InvalidOperation("no such queue"));
        };
        if !ring.is_ready() || self.guest.is_empty() {
            return Ok(());
        }
        let Some(device) = &self.device else {
            return Err(Error::InvalidOperation("a queue starts before features were chosen"));
        };
        ring.start(&Surroundings {
            number: u16::try_from(index).unwrap_or(u16::MAX),
            guest: &self.guest,
            device,
            records: self.records.as_ref(),
            worker,
        })?;
        if begins {
            self.channel.make_up();
        }
        Ok(())
    }

    fn stop_all(&mut self) {
        for ring in &mut self.rings {
            ring.stop();
        }
    }

    fn tell_memory(&self) {
        for ring in &self.rings {
            ring.set_memory(self.guest.memory());
        }
        tracing::debug!(
            target: "block", bytes = self.guest.len(), last = self.guest.last(),
            "guest memory changed"
        );
    }
}

impl Drop for Session {
    /// A front end that goes away leaves its requests: they end, and nobody may be told.
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn unsupported<T>(what: &'static str) -> Result<T> {
    Err(Error::InvalidOperation(what))
}

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    /// A message of old, which back ends shall ignore, or take as the wish that all queues be off.
    fn reset_owner(&mut self) -> Result<()> {
        for ring in &mut self.rings {
            ring.enable(false);
            ring.stop_if_off();
        }
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.stop_all();
        for ring in &mut self.rings {
            *ring = Ring::default();
        }
        // The records are those of the old rings: what they name is not in the new ones.
        (self.device, self.without_zones, self.records) = (None, false, None);
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered())
    }

    /// A front end may first set the one bit that is its own, and later all that the driver chose.
    /// The driver's choice is refused as the standard says: a front end that is refused is left.
    fn set_features(&mut self, accepted: u64) -> Result<()> {
        self.rings.iter_mut().for_each(Ring::stop_if_off);
        if self.is_used() {
            return unsupported("features cannot change while a queue runs");
        }
        // Without that bit, queues are on from the start.
        if accepted & PROTOCOL_FEATURES == 0 {
            self.rings.iter_mut().for_each(|ring| ring.enable(true));
        }
        if accepted == PROTOCOL_FEATURES {
            self.device = None;
            return Ok(());
        }
        let facts = self.export.characteristics();
        match Negotiated::check(accepted, self.offered(), facts) {
            Ok(negotiated) => {
                self.without_zones = !negotiated.has(features::ZONED);
                self.device = Some(Device::new(self.export.clone(), negotiated));
                Ok(())
            }
            Err(refusal) => {
                self.device = None;
                tracing::warn!(target: "block", "the front end is refused: {refusal}");
                Err(Error::FeatureMismatch)
            }
        }
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        self.guest = Guest::from_regions(regions, files)?;
        self.tell_memory();
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, size: u32) -> Result<()> {
        self.stopped_ring(index)?.set_size(size)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        if !flags.is_empty() {
            return unsupported("a log of written memory is not kept");
        }
        self.stopped_ring(index)?;
        let place = usize::try_from(index).map_err(|_| Error::InvalidParam)?;
        let Self { rings, guest, .. } = self;
        let ring = rings.get_mut(place).ok_or(Error::InvalidParam)?;
        ring.set_addresses(guest, descriptor, available, used)?;
        self.start_if_ready(index)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.stopped_ring(index)?.set_base(base)
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let position = self.ring(index)?.stop();
        Ok(VhostUserVringState::new(index, position.into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.stopped_ring(index.into())?.set_kick(fd)?;
        self.start_if_ready(index.into())
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(index.into())?.set_call(fd)
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(index.into())?.set_error(fd)
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.protocol = VhostUserProtocolFeatures::from_bits_truncate(features);
        self.channel.agree(self.protocol);
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.queues().into())
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.ring(index)?.enable(enable);
        self.start_if_ready(index)
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        let zoned = !self.without_zones;
        // First: one that comes between is told once more than it needs.
        self.channel.note_read();
        let (facts, length) = (self.export.characteristics(), self.export.length());
        let mut space = config::bytes(facts, length, self.queues(), zoned).to_vec();
        space.resize(MAX_CONFIG, 0);
        let (offset, size) = (usize::try_from(offset), usize::try_from(size));
        let (Ok(offset), Ok(size)) = (offset, size) else {
            return Err(Error::InvalidParam);
        };
        let end = offset.checked_add(size).ok_or(Error::InvalidParam)?;
        Ok(space.get(offset..end).ok_or(Error::InvalidParam)?.to_vec())
    }

    /// No field can be written: the one that a driver may write belongs to a feature that is not
    /// offered. A front end that passes on what a driver tried is not left for it.
    fn set_config(&mut self, offset: u32, _buf: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        tracing::debug!(target: "block", offset, "a write to the configuration space is ignored");
        Ok(())
    }

    fn get_inflight_fd(&mut self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        if asked.num_queues > self.queues() || asked.queue_size > MAX_SIZE {
            return unsupported("a record for more queues than there are, or larger ones");
        }
        let (told, file) = Records::create(asked)?;
        let again = file.try_clone().map_err(Error::ReqHandlerError)?;
        self.records = Some(Records::open(&told, again)?);
        Ok((told, file))
    }

    fn set_inflight_fd(&mut self, told: &VhostUserInflight, file: File) -> Result<()> {
        if self.is_used() {
            return unsupported("the record of requests cannot change while a queue runs");
        }
        self.records = Some(Records::open(told, file)?);
        Ok(())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        u64::try_from(MAX_REGIONS).map_err(|_| Error::BackendInternalError)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        self.guest.add(region, file)?;
        self.tell_memory();
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.guest.remove(region.guest_phys_addr, region.memory_size)?;
        self.tell_memory();
        Ok(())
    }

    fn set_gpu_socket(&mut self, _gpu_backend: GpuBackend) -> Result<()> {
        unsupported("this is no GPU")
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        unsupported("no objects are shared")
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _fd: File,
    ) -> Result<Option<File>> {
        unsupported("the device has no state of its own to transfer")
    }

    fn check_device_state(&mut self) -> Result<()> {
        unsupported("the device has no state of its own to transfer")
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        unsupported("no memory of the device is shared")
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        unsupported("a log of written memory is not kept")
    }
}

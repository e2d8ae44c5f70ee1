//! Feature bits: what is offered, and which choices of a driver are refused.

use block_core::ZonedModel;
use block_export::Characteristics;
use std::fmt;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ,
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
    VIRTIO_BLK_F_ZONED,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// `VIRTIO_F_VERSION_1`: the driver is no legacy driver.
pub const VERSION_1: u64 = bit(VIRTIO_F_VERSION_1);
/// `VIRTIO_F_INDIRECT_DESC`: descriptors may lie in tables of their own.
pub const INDIRECT_DESC: u64 = bit(VIRTIO_RING_F_INDIRECT_DESC);
/// `VIRTIO_F_EVENT_IDX`: each side says when it wants to be notified.
pub const EVENT_IDX: u64 = bit(VIRTIO_RING_F_EVENT_IDX);
/// `VIRTIO_BLK_F_SEG_MAX`.
pub const SEG_MAX: u64 = bit(VIRTIO_BLK_F_SEG_MAX);
/// `VIRTIO_BLK_F_RO`: everything that changes data is refused.
pub const RO: u64 = bit(VIRTIO_BLK_F_RO);
/// `VIRTIO_BLK_F_BLK_SIZE`.
pub const BLK_SIZE: u64 = bit(VIRTIO_BLK_F_BLK_SIZE);
/// `VIRTIO_BLK_F_FLUSH`.
pub const FLUSH: u64 = bit(VIRTIO_BLK_F_FLUSH);
/// `VIRTIO_BLK_F_TOPOLOGY`.
pub const TOPOLOGY: u64 = bit(VIRTIO_BLK_F_TOPOLOGY);
/// `VIRTIO_BLK_F_MQ`: more than one queue.
pub const MQ: u64 = bit(VIRTIO_BLK_F_MQ);
/// `VIRTIO_BLK_F_DISCARD`.
pub const DISCARD: u64 = bit(VIRTIO_BLK_F_DISCARD);
/// `VIRTIO_BLK_F_WRITE_ZEROES`.
pub const WRITE_ZEROES: u64 = bit(VIRTIO_BLK_F_WRITE_ZEROES);
/// `VIRTIO_BLK_F_ZONED`.
pub const ZONED: u64 = bit(VIRTIO_BLK_F_ZONED);

const fn bit(number: u32) -> u64 {
    1 << number
}

/// What a device with these characteristics offers. A door adds the bits of its transport.
///
/// `CONFIG_WCE` is not among them: a driver that could turn the cache off in flight would make
/// every write's durability a race. Neither is `DISCARD` of a host-managed device.
pub fn offered(facts: &Characteristics) -> u64 {
    let always = VERSION_1 | INDIRECT_DESC | EVENT_IDX | SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | MQ;
    let if_so = [
        (facts.read_only, RO),
        (facts.discard.is_some(), DISCARD),
        (facts.write_zeroes.is_some(), WRITE_ZEROES),
        (facts.zoned.is_some(), ZONED),
    ];
    if_so.iter().filter(|(so, _)| *so).fold(always, |all, (_, bit)| all | bit)
}

/// What a driver accepted, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated(u64);

/// Why a driver's choice is refused: the device must not set FEATURES_OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It accepted bits that were not offered.
    NotOffered(u64),
    /// It did not accept `VIRTIO_BLK_F_ZONED` of a host-managed device: it would take it for a
    /// regular disk and write anywhere.
    HostManagedAsRegular,
    /// It accepted `VIRTIO_BLK_F_ZONED` as a legacy driver, which has no way to be told no.
    ZonedLegacy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered(bits) => {
                write!(f, "the driver accepted features that were not offered: {bits:#x}")
            }
            Self::HostManagedAsRegular => f.write_str(
                "the driver does not know zoned devices (it did not accept VIRTIO_BLK_F_ZONED, \
                 bit 17), so it would write anywhere; use a VMM that passes the bit on, and a \
                 guest kernel with CONFIG_BLK_DEV_ZONED",
            ),
            Self::ZonedLegacy => f.write_str(
                "the driver accepted VIRTIO_BLK_F_ZONED without VIRTIO_F_VERSION_1; a zoned \
                 device is no legacy device",
            ),
        }
    }
}

impl std::error::Error for Refusal {}

impl Negotiated {
    /// Checks what a driver accepted of what was `offered`, the bits of the transport included.
    ///
    /// # Errors
    /// See [`Refusal`]; virtio 1.3, 5.2.5.2.
    pub fn check(accepted: u64, offered: u64, facts: &Characteristics) -> Result<Self, Refusal> {
        let unknown = accepted & !offered;
        if unknown != 0 {
            return Err(Refusal::NotOffered(unknown));
        }
        let zoned = accepted & ZONED != 0;
        if zoned && accepted & VERSION_1 == 0 {
            return Err(Refusal::ZonedLegacy);
        }
        let host_managed = facts.zoned.as_ref().is_some_and(|z| z.model == ZonedModel::HostManaged);
        if host_managed && !zoned {
            return Err(Refusal::HostManagedAsRegular);
        }
        Ok(Self(accepted))
    }

    /// Whether the driver accepted all of these bits.
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// All that the driver accepted.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{host_managed, regular};
    use block_export::ZonedCharacteristics;

    #[test]
    fn a_host_managed_device_offers_zones_and_no_discard() {
        let bits = offered(&host_managed());
        assert_eq!(bits & (ZONED | DISCARD | WRITE_ZEROES | RO), ZONED);
        assert_eq!(bits & (FLUSH | MQ | VERSION_1), FLUSH | MQ | VERSION_1);
    }

    #[test]
    fn a_regular_device_offers_discard_and_no_zones() {
        let bits = offered(&regular());
        assert_eq!(bits & (ZONED | DISCARD | WRITE_ZEROES | RO), DISCARD | WRITE_ZEROES);
        let read_only = Characteristics { read_only: true, ..regular() };
        assert_ne!(offered(&read_only) & RO, 0);
    }

    #[test]
    fn nobody_gets_a_host_managed_device_as_a_regular_one() {
        let facts = host_managed();
        let all = offered(&facts);
        assert_eq!(
            Negotiated::check(all & !ZONED, all, &facts),
            Err(Refusal::HostManagedAsRegular)
        );
        assert_eq!(Negotiated::check(0, all, &facts), Err(Refusal::HostManagedAsRegular));
        assert_eq!(Negotiated::check(all & !VERSION_1, all, &facts), Err(Refusal::ZonedLegacy));
        assert!(Negotiated::check(all, all, &facts).unwrap().has(ZONED));
    }

    #[test]
    fn a_host_aware_device_may_be_used_as_a_regular_one() {
        let mut facts = host_managed();
        if let Some(zoned) = &mut facts.zoned {
            *zoned = ZonedCharacteristics { model: ZonedModel::HostAware, ..zoned.clone() };
        }
        let all = offered(&facts);
        assert!(!Negotiated::check(all & !ZONED, all, &facts).unwrap().has(ZONED));
    }

    #[test]
    fn bits_that_were_not_offered_are_refused() {
        let facts = regular();
        let all = offered(&facts);
        assert_eq!(Negotiated::check(all | ZONED, all, &facts), Err(Refusal::NotOffered(ZONED)));
        assert!(Negotiated::check(0, all, &facts).is_ok(), "a legacy driver of a regular disk");
    }
}

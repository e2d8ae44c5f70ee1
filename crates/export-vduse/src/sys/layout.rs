//! The kernel's structures, byte by byte. All of them are integers without padding between them.

/// `struct vduse_dev_config` without the configuration space that follows it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct DevConfig {
    pub name: [u8; 256],
    pub vendor_id: u32,
    pub device_id: u32,
    pub features: u64,
    pub vq_num: u32,
    pub vq_align: u32,
    pub reserved: [u32; 13],
    pub config_size: u32,
}

/// `struct vduse_vq_config`
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct VqConfig {
    pub index: u32,
    pub max_size: u16,
    pub reserved: [u16; 13],
}

/// `struct vduse_config_data` without the bytes that follow it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct ConfigHead {
    pub offset: u32,
    pub length: u32,
}

/// The same with the capacity behind it, which is all that ever changes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct ConfigData {
    pub head: ConfigHead,
    pub buffer: [u8; 8],
}

/// `struct vduse_vq_info`; of the union only what a split ring has.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct VqInfo {
    pub index: u32,
    pub num: u32,
    pub desc_addr: u64,
    pub driver_addr: u64,
    pub device_addr: u64,
    pub avail_index: u16,
    pub of_packed_ring: [u16; 3],
    pub ready: u8,
    pub padding: [u8; 7],
}

/// `struct vduse_vq_eventfd`
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct VqEventfd {
    pub index: u32,
    pub fd: i32,
}

/// `struct vduse_iotlb_entry`
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct IotlbEntry {
    pub offset: u64,
    pub start: u64,
    pub last: u64,
    pub perm: u8,
    pub padding: [u8; 7],
}

/// `struct vduse_dev_request`
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct DevRequest {
    pub kind: u32,
    pub request_id: u32,
    pub reserved: [u32; 4],
    pub body: RequestBody,
}

/// Its union. Every member is at its start, and all are integers: each may be read whatever the
/// kernel has written.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union RequestBody {
    pub vq_index: u32,
    pub status: u8,
    pub iova: [u64; 2],
    pub padding: [u32; 32],
}

/// `struct vduse_dev_response`; of the union only `struct vduse_vq_state` of a split ring.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct DevResponse {
    pub request_id: u32,
    pub result: u32,
    pub reserved: [u32; 4],
    pub vq_index: u32,
    pub avail_index: u16,
    pub of_packed_ring: [u16; 3],
    pub padding: [u32; 29],
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    /// The sizes and places that the C compiler gives the kernel's header on amd64.
    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<DevConfig>(), 336);
        assert_eq!(offset_of!(DevConfig, features), 264);
        assert_eq!(offset_of!(DevConfig, config_size), 332);
        assert_eq!(size_of::<ConfigHead>(), 8);
        assert_eq!((size_of::<ConfigData>(), offset_of!(ConfigData, buffer)), (16, 8));
        assert_eq!(size_of::<VqConfig>(), 32);
        assert_eq!(size_of::<VqInfo>(), 48);
        assert_eq!(offset_of!(VqInfo, avail_index), 32);
        assert_eq!(offset_of!(VqInfo, ready), 40);
        assert_eq!(size_of::<VqEventfd>(), 8);
        assert_eq!(size_of::<IotlbEntry>(), 32);
        assert_eq!(offset_of!(IotlbEntry, perm), 24);
        assert_eq!(size_of::<DevRequest>(), 152);
        assert_eq!(offset_of!(DevRequest, body), 24);
        assert_eq!(size_of::<DevResponse>(), 152);
        assert_eq!(offset_of!(DevResponse, vq_index), 24);
        assert_eq!(offset_of!(DevResponse, avail_index), 28);
    }
}

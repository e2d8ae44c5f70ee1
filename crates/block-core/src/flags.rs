//! Flags of write requests.

bitflags::bitflags! {
    /// What a write, append or write-zeroes asks for besides its data.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RequestFlags: u32 {
        /// Force unit access: the request returns after its data is durable, as if a flush of
        /// just this request had followed.
        const FUA = 1 << 0;
        /// Write-zeroes only: the storage may give the space back, as a discard would.
        const MAY_UNMAP = 1 << 1;
        /// Write-zeroes only: fail with [`Unsupported`](crate::ErrorKind::Unsupported) rather
        /// than write zeroes one by one.
        const NO_FALLBACK = 1 << 2;
    }
}

//! Every raw system call of this crate, one typed function each.
//!
//! The structures and numbers are those of Linux's `include/uapi/linux/vduse.h`, API version 0. The
//! functions decide nothing. This is the one module that may contain unsafe code.
#![allow(unsafe_code)]

mod control;
mod device;
mod layout;
mod stable;

pub(crate) use control::{NAME_MAX, create, destroy, set_api_version};
pub(crate) use device::{
    Access, Mapping, Message, QueueInfo, What, find_mapping, inject_config_irq, inject_irq,
    negotiated_features, queue_info, read_message, respond, set_config, set_kick, set_up_queue,
    watch,
};

use nix::errno::Errno;
use std::io;

/// Repeats a call for as long as a signal interrupts it.
fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

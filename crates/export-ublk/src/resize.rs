//! A device that has become larger.

use crate::control::Event;
use crate::error::ublk_failed;
use block_core::{Error, ErrorKind, Result};
use block_export::{Announcements, Heard, SECTOR};
use libublk::ctrl::UblkCtrl;
use libublk::sys::{UBLK_F_UPDATE_SIZE, ublk_params};
use std::sync::mpsc;

/// Passes announcements on to the thread that controls the device, until that has ended.
pub(crate) async fn pass_on(mut ear: Announcements, events: mpsc::Sender<Event>) {
    // What cannot be passed on is dropped, which is an answer.
    while events.send(Event::Grown(ear.next().await)).is_ok() {}
}

/// Tells the kernel how long the device is, in bytes; its users hear of it from the kernel.
///
/// # Errors
/// `Unsupported` where the kernel cannot change a device: it keeps the size that it has.
pub(crate) fn tell(control: &UblkCtrl, length: u64) -> Result<Heard> {
    let id = control.dev_info().dev_id;
    let doing = format!("changing the size of /dev/ublkb{id}");
    // One that was made while the image became larger has the size.
    let mut there = ublk_params::default();
    control.get_params(&mut there).map_err(|e| ublk_failed(&doing, e))?;
    if there.basic.dev_sectors.checked_mul(SECTOR) == Some(length) {
        return Ok(Heard::Now);
    }
    let features = UblkCtrl::get_features().ok_or_else(|| {
        let message = format!("{doing}: the kernel does not say what its ublk can do");
        Error::from(ErrorKind::Unsupported(message))
    })?;
    check(features, id)?;
    control.update_size(length).map_err(|e| ublk_failed(&doing, e))?;
    Ok(Heard::Now)
}

/// The kernel does not check for the command before it would carry it out, nor do all kernels say
/// that they do not know it.
fn check(features: u64, id: u32) -> Result<()> {
    if features & u64::from(UBLK_F_UPDATE_SIZE) != 0 {
        return Ok(());
    }
    let message = format!(
        "this kernel's ublk cannot change a device: /dev/ublkb{id} keeps its size until it is \
         stopped and exported anew; use Linux 6.16 or later"
    );
    Err(ErrorKind::Unsupported(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_backend::BlockBackend;
    use block_export::{Export, Identity};

    #[test]
    fn a_kernel_that_cannot_change_a_device_is_told_with_what_to_do() {
        check(u64::from(UBLK_F_UPDATE_SIZE), 3).unwrap();
        let error = check(!u64::from(UBLK_F_UPDATE_SIZE), 3).unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
        let error = error.to_string();
        assert!(error.contains("/dev/ublkb3 keeps its size") && error.contains("6.16"), "{error}");
    }

    #[tokio::test]
    async fn a_new_length_reaches_the_thread_that_controls_the_device() {
        let backend = BlockBackend::open("driver=null,size=1M").await.unwrap();
        let export = Export::new(backend, Identity::default()).await.unwrap();
        let (events, inbox) = mpsc::channel();
        let passing = tokio::spawn(pass_on(export.announcements(), events));
        export.backend().resize(2 << 20).await.unwrap();
        let thread = std::thread::spawn(move || {
            let Event::Grown(announcement) = inbox.recv().unwrap() else { panic!() };
            assert_eq!(announcement.length(), 2 << 20);
            announcement.answer(Ok(Heard::Now));
        });
        assert_eq!(export.look_again().await.unwrap().heard.unwrap(), Heard::Now);
        thread.join().unwrap();
        // The thread has ended.
        export.backend().resize(3 << 20).await.unwrap();
        export.look_again().await.unwrap().heard.unwrap_err();
        passing.await.unwrap();
    }
}

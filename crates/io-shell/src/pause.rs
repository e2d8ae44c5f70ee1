//! Waiting for some time, in any runtime.

use std::io;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Wakes and ends the sleeping thread when it is dropped.
struct Alarm {
    thread: thread::Thread,
    /// Its other end tells the thread that nobody waits any more.
    done: oneshot::Receiver<()>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.done.close();
        self.thread.unpark();
    }
}

/// Waits. It uses a thread of its own: not every runtime has timers, and asking one that has none
/// is a panic.
///
/// # Errors
/// If no thread can be started.
pub(crate) async fn pause(time: Duration) -> io::Result<()> {
    let (tell, done) = oneshot::channel::<()>();
    let sleeper = thread::Builder::new().name("zblk-sleep".to_owned()).spawn(move || {
        let start = Instant::now();
        while !tell.is_closed() {
            match time.checked_sub(start.elapsed()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => break,
            }
        }
    })?;
    let mut alarm = Alarm { thread: sleeper.thread().clone(), done };
    // The sender is dropped, not sent: either way the time is over.
    let _ = (&mut alarm.done).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_lasts_as_long_as_asked() {
        let start = Instant::now();
        pause(Duration::from_millis(30)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30));
        pause(Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_pause_ends_its_thread() {
        let (tell, done) = oneshot::channel::<()>();
        let mut long = Box::pin(async move {
            let _tell = tell;
            pause(Duration::from_secs(3600)).await
        });
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(long.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        drop(long);
        assert!(done.await.is_err());
    }
}

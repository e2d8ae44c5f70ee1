//! Callers who do not wait, and those who wait for too long.

use power_cut::Rng;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Waits for a request, or not: some are dropped after a few polls, some by a time-out.
pub(crate) async fn given_up<T>(rng: &mut Rng, request: impl Future<Output = T>) -> Option<T> {
    match rng.below(10) {
        0 => {
            let mut polls = 1 + rng.below(4);
            let mut request = pin!(request);
            poll_fn(|cx| match request.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending => {
                    polls -= 1;
                    if polls == 0 { Poll::Ready(None) } else { Poll::Pending }
                }
            })
            .await
        }
        1 | 2 => {
            // Short for what waits, for what is at work, and for what takes several steps.
            let longest = [500, 4000, 30_000][rng.below(3) as usize];
            let time = Duration::from_micros(rng.below(longest));
            tokio::time::timeout(time, request).await.ok()
        }
        _ => Some(request.await),
    }
}

/// Waits for this long, and gives `None` if that was not enough. Counts seconds that passed for this
/// program: a machine that is stopped for minutes, as an emulated one may be, has not waited.
pub(crate) async fn within<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..patience.as_secs() {
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), work.as_mut()).await {
            return Some(done);
        }
    }
    None
}

//! Futures that are dropped before their end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// When a future is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// After how many polls.
    polls: usize,
    /// How long the operation has to get on between them.
    pause: Option<Duration>,
}

/// From "never polled" to "well under way".
pub(crate) const MOMENTS: [Moment; 6] = [
    Moment { polls: 0, pause: None },
    Moment { polls: 1, pause: None },
    Moment { polls: 2, pause: None },
    Moment { polls: 4, pause: None },
    Moment { polls: 2, pause: Some(Duration::from_micros(50)) },
    Moment { polls: 2, pause: Some(Duration::from_millis(2)) },
];

/// Polls the future until the moment has come, then drops it. Gives its output if it ended before.
pub(crate) async fn interrupt<F: Future>(future: F, moment: Moment) -> Option<F::Output> {
    let mut future = pin!(future);
    for poll in 0..moment.polls {
        if poll > 0 {
            match moment.pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => tokio::task::yield_now().await,
            }
        }
        let once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
        if let Poll::Ready(output) = once.await {
            return Some(output);
        }
    }
    None
}

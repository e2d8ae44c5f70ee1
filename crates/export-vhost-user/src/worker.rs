//! A thread with a runtime for each queue.

use crate::guest::Memory;
use crate::inflight::Record;
use crate::ring::Call;
use block_core::{Error, Result};
use std::thread::{self, JoinHandle};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use virtio_blk::queue::{self, Command, Setup};

/// Runs one queue at a time, and drives the tasks that requests leave behind.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    setup: Setup<Memory, Call, Record>,
    commands: mpsc::UnboundedReceiver<Command<Memory, Call>>,
    ended: oneshot::Sender<u16>,
}

/// A queue at work.
#[derive(Debug)]
pub(crate) struct Running {
    commands: mpsc::UnboundedSender<Command<Memory, Call>>,
    ended: oneshot::Receiver<u16>,
}

impl Worker {
    pub(crate) fn start(number: u16) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::from)?;
        let (jobs, mut receiver) = mpsc::unbounded_channel::<Job>();
        let thread = thread::Builder::new().name(format!("queue {number}")).spawn(move || {
            runtime.block_on(async {
                while let Some(mut job) = receiver.recv().await {
                    let position = queue::run(job.setup, &mut job.commands).await;
                    // Who waited may have gone away.
                    let _ = job.ended.send(position);
                }
            });
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Starts a queue; `None` if the thread is gone.
    pub(crate) fn run(&self, setup: Setup<Memory, Call, Record>) -> Option<Running> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel();
        let job = Job { setup, commands: receiver, ended };
        self.jobs.as_ref()?.send(job).ok()?;
        Some(Running { commands, ended: end })
    }
}

impl Drop for Worker {
    /// Waits for the thread: its runtime drives tasks of the graph.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Running {
    pub(crate) fn tell(&self, command: Command<Memory, Call>) {
        // A queue ends only when it is told to, or with its thread.
        let _ = self.commands.send(command);
    }

    /// Ends the queue's work and waits for requests under way; returns the position up to which the
    /// driver's requests were taken.
    ///
    /// It blocks, so it is for threads outside of any runtime.
    pub(crate) fn stop(self) -> Option<u16> {
        self.tell(Command::Stop);
        self.ended.blocking_recv().ok()
    }
}

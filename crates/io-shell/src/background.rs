//! Requests that run while the user goes on: `aio_read`, `aio_write`, `aio_flush`.

use crate::command::Command;
use crate::stop::Stop;
use crate::transfer::{ReadRequest, WriteRequest};
use block_backend::BlockBackend;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Most requests that wait for their `aio_flush`. One more, and the oldest is waited for.
const MAX_WAITING: usize = 128;
/// Longest background read that prints its bytes, which are kept until then.
const MAX_DUMP: u64 = 1 << 20;

/// A request to be run in the background.
#[derive(Debug)]
pub(crate) enum Request {
    Read(ReadRequest),
    Write(WriteRequest),
}

/// What a finished request has to say.
#[derive(Debug)]
struct Outcome {
    text: Vec<u8>,
    failed: bool,
}

#[derive(Debug)]
enum Job {
    Done(Outcome),
    Running(JoinHandle<Outcome>),
}

/// The requests whose results were not printed yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Background {
    jobs: VecDeque<Job>,
    /// Whether one failed that was printed before anybody waited.
    failed: bool,
}

impl Background {
    /// Starts a request. Its first steps are made here and now, so that requests begin in the
    /// order in which they were asked for: what a sequential zone needs.
    pub(crate) async fn start(
        &mut self,
        request: Request,
        command: &'static Command,
        backend: &BlockBackend,
        explain: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        if let Request::Read(read) = &request
            && read.dumps()
            && read.total() > MAX_DUMP
        {
            return Err(Stop::Text(format!(
                "{}: -v takes at most {MAX_DUMP} bytes in the background; use read",
                command.name
            )));
        }
        let runtime = Handle::try_current()
            .map_err(|_| Stop::Text(format!("{} needs a tokio runtime to run in", command.name)))?;
        while self.jobs.len() >= MAX_WAITING {
            self.failed |= self.print_oldest(command, out).await?;
        }
        let backend = backend.clone();
        let mut job: Pin<Box<dyn Future<Output = Outcome> + Send>> =
            Box::pin(async move { run(&request, command, &backend, explain).await });
        let first = poll_fn(|cx| Poll::Ready(job.as_mut().poll(cx))).await;
        self.jobs.push_back(match first {
            Poll::Ready(outcome) => Job::Done(outcome),
            Poll::Pending => Job::Running(runtime.spawn(job)),
        });
        Ok(())
    }

    /// Waits for all requests and prints their results. Says whether one failed.
    pub(crate) async fn wait(
        &mut self,
        command: &Command,
        out: &mut (dyn Write + Send),
    ) -> io::Result<bool> {
        let mut failed = std::mem::take(&mut self.failed);
        while !self.jobs.is_empty() {
            failed |= self.print_oldest(command, out).await?;
        }
        Ok(failed)
    }

    /// Waits for one request and prints its result. If the future is dropped, the request is still
    /// there.
    async fn print_oldest(
        &mut self,
        command: &Command,
        out: &mut (dyn Write + Send),
    ) -> io::Result<bool> {
        let outcome = match self.jobs.front_mut() {
            None => return Ok(false),
            Some(Job::Running(task)) => task.await.unwrap_or_else(|_| Outcome {
                text: format!("{}: the runtime shut down\n", command.name).into_bytes(),
                failed: true,
            }),
            Some(Job::Done(outcome)) => {
                Outcome { text: std::mem::take(&mut outcome.text), failed: outcome.failed }
            }
        };
        self.jobs.pop_front();
        out.write_all(&outcome.text)?;
        Ok(outcome.failed)
    }
}

async fn run(
    request: &Request,
    command: &Command,
    backend: &BlockBackend,
    explain: bool,
) -> Outcome {
    let mut text = Vec::new();
    let result = match request {
        Request::Read(read) => read.run(backend, &mut text).await,
        Request::Write(write) => write.run(backend, &mut text).await,
    };
    let failed = match result {
        Ok(()) => false,
        Err(stop) => {
            // Writing to memory does not fail.
            let _ = stop.say(command, explain, &mut text);
            true
        }
    };
    Outcome { text, failed }
}

//! Runs cases, and says at the end what came of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a case may take before it has failed as stuck.
const PATIENCE: Duration = Duration::from_secs(240);

/// One suite on one device.
struct Row {
    device: String,
    suite: &'static str,
    passed: usize,
    failed: Vec<(String, String)>,
    skipped: Vec<(String, String)>,
    took: Duration,
}

/// What came of all cases.
pub struct Results {
    kernel: String,
    wanted: Vec<String>,
    rows: Vec<Row>,
}

impl Results {
    pub fn new(wanted: Vec<String>) -> Self {
        let kernel = std::env::var("LAB_KERNEL").unwrap_or_else(|_| "unknown".to_owned());
        Self { kernel, wanted, rows: Vec::new() }
    }

    /// Starts a suite, if it is wanted.
    pub fn suite(&mut self, device: &str, suite: &'static str) -> Option<Suite<'_>> {
        let wanted = |word: &String| match word.split_once('/') {
            Some((d, s)) => device == d && suite.contains(s),
            None => suite.contains(word.as_str()) || device.contains(word.as_str()),
        };
        if !self.wanted.is_empty() && !self.wanted.iter().any(wanted) {
            return None;
        }
        eprintln!("== {suite} on {device}, kernel {}", self.kernel);
        self.rows.push(Row {
            device: device.to_owned(),
            suite,
            passed: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
            took: Duration::ZERO,
        });
        let row = self.rows.last_mut().expect("just pushed");
        Some(Suite { row, started: Instant::now() })
    }

    /// A line for each device and suite, for who puts those of several runs together.
    fn table(&self) -> String {
        let line = |row: &Row| {
            let (failed, skipped) = (row.failed.len(), row.skipped.len());
            let Row { device, suite, passed, took, .. } = row;
            let seconds = took.as_secs_f64();
            format!("{device} {suite} {} {passed} {failed} {skipped} {seconds:.1}\n", self.kernel)
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints what was left out and what failed, and a last line like libtest's. The counts of
    /// each suite go to the file `$LAB_TABLE`.
    pub fn print(&self) -> ExitCode {
        match std::env::var_os("LAB_TABLE") {
            Some(path) => std::fs::write(path, self.table()).expect("a table"),
            None => print!("{}", self.table()),
        }
        for row in &self.rows {
            let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (name, why) in &row.skipped {
                reasons.entry(why).or_default().push(name);
            }
            for (why, names) in reasons {
                println!("not for {} {}: {why}: {}", row.device, row.suite, names.join(", "));
            }
        }
        for row in &self.rows {
            for (name, why) in &row.failed {
                println!("FAILED  {} {}::{name}: {why}", row.device, row.suite);
            }
        }
        let sum = |count: fn(&Row) -> usize| self.rows.iter().map(count).sum::<usize>();
        let (passed, failed) = (sum(|r| r.passed), sum(|r| r.failed.len()));
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "test result: {verdict}. {passed} passed; {failed} failed; {} ignored; 0 measured; 0 filtered out",
            sum(|r| r.skipped.len())
        );
        match (passed, failed) {
            (0, 0) => {
                println!("there is no suite of that name here");
                ExitCode::from(3)
            }
            (_, 0) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// A suite under way.
pub struct Suite<'a> {
    row: &'a mut Row,
    started: Instant,
}

impl Suite<'_> {
    /// Runs a case in a task of its own: a panic or a hang is a failure of that case alone.
    pub async fn case<F>(&mut self, name: &str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut task = tokio::spawn(work);
        let ended = tokio::time::timeout(PATIENCE, &mut task).await;
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(join)) => Some(panic_message(join)),
            Err(_) => {
                task.abort();
                Some(format!("stuck: it did not end within {PATIENCE:?}"))
            }
        };
        self.record(name, failure);
    }

    /// Runs a case that blocks, in a thread of its own: a panic is a failure of that case alone, and
    /// so is one that takes longer than `patience`, whose thread is left behind. Time in which the
    /// machine is stopped does not count. Says whether the case has ended.
    pub fn blocking_case(
        &mut self,
        name: &str,
        patience: Duration,
        work: impl FnOnce() + Send + 'static,
    ) -> bool {
        let (ended, end) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Nobody listens any more after a timeout.
            let _ = ended.send(());
            result
        });
        let second = Duration::from_secs(1);
        let ended = (0..patience.as_secs()).any(|_| end.recv_timeout(second).is_ok());
        let failure = match ended {
            true => match thread.join().expect("a panic is caught within") {
                Ok(()) => None,
                Err(payload) => Some(payload_message(payload.as_ref())),
            },
            false => Some(format!("stuck: it did not end within {patience:?}")),
        };
        self.record(name, failure);
        ended
    }

    /// Notes how a case ended.
    pub fn record(&mut self, name: &str, failure: Option<String>) {
        match failure {
            None => self.row.passed += 1,
            Some(why) => {
                eprintln!("FAILED  {name}: {why}");
                self.row.failed.push((name.to_owned(), why));
            }
        }
        self.row.took = self.started.elapsed();
    }

    /// Notes a case that cannot be run, with the reason.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.row.skipped.push((name.to_owned(), why.to_owned()));
    }
}

fn panic_message(join: tokio::task::JoinError) -> String {
    match join.try_into_panic() {
        Ok(payload) => payload_message(payload.as_ref()),
        Err(_) => "its task was cancelled".to_owned(),
    }
}

fn payload_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)").to_owned()
}

//! SIGHUP has an export look at its image again, which may have become larger.

use crate::error::{Failure, Result};
use crate::output::Output;
use crate::output::units::size;
use block_export::{Export, Heard, Look};
use serde::Serialize;
use std::convert::Infallible;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Told to look by SIGHUP.
#[derive(Debug)]
pub(crate) struct Looks(Signal);

/// What a look came to, as `--json` prints it. In bytes.
#[derive(Serialize)]
struct CapacityObject {
    capacity: Capacity,
}

#[derive(Serialize)]
struct Capacity {
    from: u64,
    to: u64,
    /// Why the device's users could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    untold: Option<String>,
}

impl Looks {
    /// From now on the signal does not end the process.
    pub(crate) fn new() -> Result<Self> {
        let hangup = signal(SignalKind::hangup());
        hangup.map(Self).map_err(|e| Failure::system("cannot watch for signals", &e))
    }

    /// Looks at each signal, and tells on standard error what came of it.
    pub(crate) async fn take(&mut self, export: &Export, output: &Output) -> Infallible {
        loop {
            // The stream ends only with the runtime.
            let _ = self.0.recv().await;
            match export.look_again().await {
                Ok(Look { from, to, heard }) => {
                    let untold = match heard {
                        Ok(Heard::Now) => None,
                        Ok(Heard::Later(why)) => {
                            Some(format!("its users find it when they ask the next time: {why}"))
                        }
                        Err(error) => Some(format!(
                            "its users could not be told, another SIGHUP tries again: {error}"
                        )),
                    };
                    let words = words(from, to, untold.as_deref());
                    let capacity = Capacity { from, to, untold };
                    output.remark(&CapacityObject { capacity }, || words);
                }
                Err(error) => {
                    let _ = Failure::from(error).because("the device keeps its size").tell(output);
                }
            }
        }
    }
}

fn words(from: u64, to: u64, untold: Option<&str>) -> String {
    if from == to {
        return format!("capacity is {} ({to} bytes), as before", size(to));
    }
    let mut words = format!("capacity {} -> {} ({from} -> {to} bytes)", size(from), size(to));
    if let Some(why) = untold {
        words.push_str("; ");
        words.push_str(why);
    }
    words
}

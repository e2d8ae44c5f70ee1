//! The `fault-inject` driver: a filter that passes everything to its child, except where a rule
//! says otherwise.
//!
//! A rule names operations and a part of the device, says which of the requests that match it are
//! hit (after the first so many, so many times, with a probability), and what then happens: an
//! [`Action`]. Rules come from options when the node is opened, or from code through a
//! [`FaultHandle`], which adds and removes them while requests run and reads what they counted.
//!
//! ```
//! use block_core::{ChildNeeds, ChildRole, Node, RequestFlags};
//! use fault_inject::{Action, Failure, FaultInject, Ops, Rule, When};
//! use null_driver::{Null, NullConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> block_core::Result<()> {
//! let disk = Node::new("disk", Box::new(Null::new(NullConfig::default())));
//! let needs = ChildNeeds {
//!     role: ChildRole::Filtered,
//!     write: true,
//!     share_write: false,
//!     carries_zones: true,
//! };
//! let (driver, faults) = FaultInject::new(disk.attach(needs, "faults")?);
//! let node = Node::new("faults", Box::new(driver));
//!
//! let action = Action::Fail { error: Failure::NoSpace, when: When::Before };
//! faults.add(Rule::new("full", action).on(Ops::WRITE).skip(1).times(1))?;
//! node.write(0, vec![1; 512].into(), RequestFlags::empty()).await?;
//! let error = node.write(0, vec![1; 512].into(), RequestFlags::empty()).await.unwrap_err();
//! assert_eq!(error.kind().name(), "no-space");
//! assert_eq!(faults.remove("full").map(|counts| (counts.matched, counts.fired)), Some((2, 1)));
//! # Ok(())
//! # }
//! ```
//!
//! # In which order rules act
//! Each request asks the rules one after the other, in the order in which they were added; those
//! of options are added in the order of their names. A rule that delays, interferes with a zone or
//! takes one out of service does so, and the next rule is asked. The first rule that decides what
//! becomes of the request (fail, short, torn, corrupt) is the last one asked, so that later rules
//! neither see nor count it.
//!
//! # Chance
//! What chance decides (whether a rule fires, how long a delay is, which sectors land) follows from
//! the rule's seed, its name, and how many requests matched it before; nothing else goes in. The
//! same requests in the same order meet the same faults.
//!
//! # Requests that are held back
//! A request that a rule delays or hangs *before* it reaches the child is in the hands of the
//! filter: it goes on when its time has come even if its caller has gone meanwhile, as with a real
//! device, and `settle` waits for it. Requests that are held back may overtake each other; held
//! after the child answered, they keep the order in which they were asked.
#![forbid(unsafe_code)]

mod carry;
mod dead;
mod dice;
mod driver;
mod factory;
mod failure;
mod handle;
mod hold;
mod ops;
mod options;
mod parts;
mod request;
mod rule;
mod rules;
mod zoned;

pub use driver::FaultInject;
pub use factory::fault_inject;
pub use failure::Failure;
pub use handle::FaultHandle;
pub use ops::Ops;
pub use rule::{Action, Intrusion, Place, Rule, When};
pub use rules::RuleCounts;

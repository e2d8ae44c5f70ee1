//! What a disk may hold after a power cut.

use crate::journal::Journal;
use crate::op::{Op, Part};
use crate::{Content, Rng};

/// How a cut treats what was not durable.
#[derive(Clone, Copy)]
enum Mood {
    /// Each request fares by itself, in any order.
    Any,
    /// All of it is lost.
    Nothing,
    /// All of it is there, in the order in which it happened.
    Everything,
    /// One request is there, in any part.
    OnlyOne,
    /// One request is missing, in any part.
    AllButOne,
}

/// What may be there if the power goes away after the first `moment` events.
pub(crate) fn after_cut(journal: &Journal, moment: usize, rng: &mut Rng) -> Content {
    let mut content = journal.durable_at(moment).clone();
    let mut pending = journal.pending_at(moment);
    let mood = match rng.below(16) {
        0 => Mood::Nothing,
        1 => Mood::Everything,
        2 | 3 => Mood::OnlyOne,
        4 | 5 => Mood::AllButOne,
        _ => Mood::Any,
    };
    if let Mood::Everything | Mood::AllButOne = mood {
        // What is in flight comes last.
        pending.sort_by_key(|op| (op.ended.unwrap_or(usize::MAX), op.began));
    } else {
        rng.shuffle(&mut pending);
    }
    let count = u64::try_from(pending.len()).unwrap_or(0);
    let chosen = usize::try_from(rng.below(count)).unwrap_or(0);
    for (n, op) in pending.iter().enumerate() {
        let part = match mood {
            Mood::Any => op.any_part(rng),
            Mood::OnlyOne | Mood::AllButOne if n == chosen => op.any_part(rng),
            Mood::Everything | Mood::AllButOne => Part::Whole,
            Mood::Nothing | Mood::OnlyOne => Part::Nothing,
        };
        if part != Part::Nothing {
            land(journal, op, &part, moment, &mut content);
        }
    }
    content
}

/// Lets a part of a pending request reach the medium: what of it has landed at all, and was not
/// replaced by something durable since.
fn land(journal: &Journal, op: &Op, part: &Part, moment: usize, content: &mut Content) {
    let ended = op.ended_by(moment);
    let replaces = |d: &&Op| {
        let durable = d.durable.is_some_and(|since| since <= moment);
        durable && ended && op.ended_by(d.began) && d.meets(op)
    };
    let replaced: Vec<&Op> = journal.ops.iter().filter(replaces).collect();
    // A cut-off request has ended with a part of it; until then all of it was on its way.
    let landed = if ended { op.part.and(part) } else { part.clone() };
    op.apply(content, &landed, &replaced);
}

//! Faults while an image is opened, closed, made, checked and repaired.

use crate::crash::{Crash, Timeline};
use crate::faults::{Caller, FAULTS, Fault, RULE};
use crate::ops::{GEOMETRY, make_dirty, prepare};
use crate::seen::{Seen, look};
use crate::stack::{Stack, Storage};
use crate::trial::{in_time, must, same};
use crate::{Counts, STEPS, runtime, tell};
use block_core::{Error, Node, Result as IoResult};
use fault_inject::FaultHandle;
use power_cut::{Content, PowerCutDisk, Rng};
use std::future::Future;
use std::sync::Arc;
use zoned_file::{CreateOptions, check, create, zoned_file_needs};

const STACK: Stack = Stack::ImageOnDisk;

/// Tries every fault at every step of something; `tried` says whether the fault happened.
fn everywhere<F: Future<Output = Result<bool, String>>>(
    what: &'static str,
    faults: impl Fn(&Fault) -> bool,
    tried: impl Fn(&'static Fault, u64) -> F,
) {
    let mut counts = Counts::new();
    for fault in FAULTS.iter().filter(|f| faults(f)) {
        for step in 0.. {
            assert!(step < STEPS, "{what}: there is no end");
            let happened = runtime().block_on(tried(fault, step));
            match happened {
                Ok(true) => *counts.entry(fault.name).or_default() += 1,
                Ok(false) => break,
                Err(e) => panic!("{what}, {}, at step {}: {e}", fault.name, step + 1),
            }
        }
    }
    assert!(counts.values().all(|n| *n > 0) && !counts.is_empty());
    tell(what, &counts);
}

/// Does something until it ends or hangs by the rule, which is then removed. Gives the result, or
/// `None` if it was given up, and whether the fault happened.
async fn perform<T>(
    fault: &Fault,
    faults: &FaultHandle,
    work: impl Future<Output = IoResult<T>>,
) -> Result<(Option<IoResult<T>>, bool), String> {
    let hangs = async {
        while fault.caller == Caller::Stays || faults.counts(RULE).is_none_or(|c| c.fired == 0) {
            tokio::task::yield_now().await;
        }
    };
    let both = async {
        tokio::select! {
            biased;
            result = work => Some(result),
            () = hangs => None,
        }
    };
    let result = in_time("it", both).await?;
    let fired = faults.remove(RULE).is_some_and(|counts| counts.fired > 0);
    if let Some(Err(error)) = &result {
        is_injected(fault, error)?;
    }
    Ok((result, fired))
}

fn is_injected(fault: &Fault, error: &Error) -> Result<(), String> {
    let right = error.kind().name() == fault.error
        && error.node() == Some("faults")
        && error.to_string().contains("injected by the rule 'step'");
    if right { Ok(()) } else { Err(format!("the error is another one: {error}")) }
}

/// An image with data, and what is in it. Not closed, if `dirty`.
async fn image(dirty: bool) -> Result<(PowerCutDisk, Vec<Seen>), String> {
    let storage = must("making the image", STACK.storage(7)).await?;
    let Storage::Disk(disk) = &storage else { return Err("it is on a disk".to_owned()) };
    let disk = disk.clone();
    let (_, node) = STACK.open(&storage, None).await;
    let node = must("opening", async { node }).await?;
    must("the setup", prepare(&node)).await?;
    must("the setup", make_dirty(&node)).await?;
    must("flush", node.flush()).await?;
    let seen = look(&node).await?;
    if !dirty {
        must("closing", node.close()).await?;
    }
    drop(node);
    Ok((disk, seen))
}

/// Opens without faults, and compares.
async fn opens_as(disk: &PowerCutDisk, expected: &[Seen]) -> Result<Arc<Node>, String> {
    let (_, node) = STACK.open(&Storage::Disk(disk.clone()), None).await;
    let node = node.map_err(|e| format!("opening: {e}"))?;
    same(expected, &look(&node).await?)?;
    Ok(node)
}

fn open(dirty: bool, what: &'static str) {
    everywhere(
        what,
        |f| f.caller == Caller::Stays,
        |fault, step| async move {
            let (disk, expected) = image(dirty).await?;
            let storage = Storage::Disk(disk.clone());
            let opening = STACK.open(&storage, Some(fault.rule(step)));
            let (faults, opened) = in_time("opening", opening).await?;
            let fired = match faults.remove(RULE) {
                Some(counts) => counts.fired > 0,
                // The filter is gone with the node that was not opened.
                None => true,
            };
            match opened {
                Ok(node) => {
                    same(&expected, &look(&node).await?)?;
                    drop(node);
                }
                Err(error) => is_injected(fault, &error)?,
            }
            let node = opens_as(&disk, &expected).await?;
            must("closing", node.close()).await?;
            Ok(fired)
        },
    );
}

#[test]
fn opening_a_clean_image() {
    open(false, "opening a clean image");
}

#[test]
fn opening_an_image_that_was_in_use() {
    open(true, "opening an image that was in use");
}

#[test]
fn closing() {
    everywhere(
        "closing",
        |_| true,
        |fault, step| async move {
            let (disk, promised) = image(true).await?;
            let storage = Storage::Disk(disk.clone());
            let (faults, node) = STACK.open(&storage, None).await;
            let node = node.map_err(|e| e.to_string())?;
            must("the setup", make_dirty(&node)).await?;
            let most = look(&node).await?;
            faults.add(fault.rule(step)).map_err(|e| e.to_string())?;
            let (result, fired) = perform(fault, &faults, node.close()).await?;
            must("settling", node.settle()).await?;
            drop(node);
            let timeline = match &result {
                Some(Ok(())) => Timeline::between(&most, &most),
                _ => Timeline::between(&promised, &most),
            };
            Crash::of(&disk).verify(&timeline).await?;
            let (_, node) = STACK.open(&storage, None).await;
            let node = node.map_err(|e| format!("opening again: {e}"))?;
            timeline.explains(&look(&node).await?)?;
            let seen = look(&node).await?;
            must("closing again", node.close()).await?;
            drop(node);
            let report = must("checking", storage.check(false)).await?;
            if !report.clean || !report.findings.is_empty() {
                return Err(format!("check finds {report:?}"));
            }
            opens_as(&disk, &seen).await?;
            Ok(fired)
        },
    );
}

async fn create_over(disk: PowerCutDisk, fault: &'static Fault, step: u64) -> Result<bool, String> {
    let storage = Storage::Disk(disk.clone());
    let (_, old) = STACK.open(&storage, None).await;
    let old = match old {
        Ok(node) => Some(look(&node).await?),
        Err(_) => None,
    };
    let opened = must("the filter", storage.filtered(fault.rule(step))).await?;
    let child = opened.node.attach(zoned_file_needs(true), "create").map_err(|e| e.to_string())?;
    let options = CreateOptions::new(GEOMETRY);
    let (result, fired) = perform(fault, &opened.faults, create(&child, &options)).await?;
    must("settling", child.settle()).await?;
    must("closing", child.close()).await?;
    // Of a failed attempt there is the old image, the new one, or none.
    let (_, node) = STACK.open(&storage, None).await;
    match (node, &result) {
        (Ok(node), Some(Ok(_))) => is_empty(&look(&node).await?)?,
        (Ok(node), _) => {
            let seen = look(&node).await?;
            if old.is_none_or(|old| same(&old, &seen).is_err()) {
                is_empty(&seen)?;
            }
        }
        (Err(error), Some(Ok(_))) => return Err(format!("made, and yet: {error}")),
        (Err(error), _) if error.kind().name() == "invalid-image" => {}
        (Err(error), _) => return Err(format!("opening: {error}")),
    }
    let node = Node::new("again", Box::new(disk.clone()));
    let child = node.attach(zoned_file_needs(true), "create").map_err(|e| e.to_string())?;
    let made = must("making it again", create(&child, &options)).await?;
    if made.unreachable_zones != 0 {
        return Err(format!("not all of it: {made:?}"));
    }
    drop(child);
    let (_, node) = STACK.open(&storage, None).await;
    let node = node.map_err(|e| format!("opening: {e}"))?;
    is_empty(&look(&node).await?)?;
    must("closing", node.close()).await?;
    Ok(fired)
}

fn is_empty(seen: &[Seen]) -> Result<(), String> {
    match seen.iter().find(|s| s.data.iter().any(|b| *b != 0) || s.is_full()) {
        Some(zone) => Err(format!("a new image has a zone {zone:?}")),
        None => Ok(()),
    }
}

#[test]
fn making_an_image() {
    everywhere(
        "making an image",
        |_| true,
        |fault, step| create_over(PowerCutDisk::new(Content::new(0), 3), fault, step),
    );
}

#[test]
fn making_an_image_over_another() {
    everywhere(
        "making an image over another",
        |_| true,
        |fault, step| async move {
            let (disk, _) = image(false).await?;
            create_over(disk, fault, step).await
        },
    );
}

#[test]
fn checking() {
    everywhere(
        "checking",
        |f| f.caller == Caller::Stays,
        |fault, step| async move {
            let (disk, expected) = image(false).await?;
            let storage = Storage::Disk(disk.clone());
            let opened = must("the filter", storage.filtered(fault.rule(step))).await?;
            let needs = zoned_file_needs(false);
            let child = opened.node.attach(needs, "check").map_err(|e| e.to_string())?;
            let (result, fired) = perform(fault, &opened.faults, check(&child, false)).await?;
            must("closing", child.close()).await?;
            if let Some(Ok(report)) = result
                && !report.findings.is_empty()
            {
                return Err(format!("an error is no finding: {report:?}"));
            }
            let report = must("checking", storage.check(false)).await?;
            if !report.clean || !report.findings.is_empty() {
                return Err(format!("check finds {report:?}"));
            }
            opens_as(&disk, &expected).await?;
            Ok(fired)
        },
    );
}

/// One copy of everything: header A, the state page in slot 1, both pages of the table in slot 0.
const DAMAGE: [u64; 4] = [0, 68 << 10, 128 << 10, 132 << 10];

#[test]
fn repairing() {
    everywhere(
        "repairing",
        |_| true,
        |fault, step| async move {
            let (disk, expected) = image(false).await?;
            let storage = Storage::Disk(disk.clone());
            for place in DAMAGE {
                must("damaging it", storage.damage(place)).await?;
            }
            let opened = must("the filter", storage.filtered(fault.rule(step))).await?;
            let needs = zoned_file_needs(true);
            let child = opened.node.attach(needs, "repair").map_err(|e| e.to_string())?;
            let (_, fired) = perform(fault, &opened.faults, check(&child, true)).await?;
            must("settling", child.settle()).await?;
            must("closing", child.close()).await?;
            let mut disks = vec![disk.clone()];
            // The power may be cut, too, before it is tried again.
            for seed in 0..3 {
                let content = disk.after_cut(disk.points(), &mut Rng::new(seed));
                disks.push(PowerCutDisk::new(content, seed));
            }
            for disk in disks {
                let storage = Storage::Disk(disk.clone());
                let report = must("repairing again", storage.check(true)).await?;
                if !report.is_sound() {
                    return Err(format!("not repaired: {report:?}"));
                }
                let report = must("checking", storage.check(false)).await?;
                if !report.findings.is_empty() {
                    return Err(format!("after the repair: {report:?}"));
                }
                opens_as(&disk, &expected).await?;
            }
            Ok(fired)
        },
    );
}

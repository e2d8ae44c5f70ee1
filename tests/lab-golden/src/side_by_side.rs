//! Runs a case through both programs, and judges what they did.

use crate::compare::{merge, normalize, split};
use crate::device::{Fresh, Programs};
use crate::differences::Differences;
use crate::script::{Case, DeviceSpec, Mark, STATUS, Step, ZONES};
use std::io::Read;
use std::process::{Command, Stdio};

/// How an image is opened unless a case says something else.
const USUAL: &str = "driver=host_device,filename=DEVICE,cache.direct=on";

/// What a program did: the lines that it printed, command by command, how it ended, and the zones
/// afterwards.
struct Done {
    outputs: Vec<Vec<String>>,
    status: String,
    zones: Vec<String>,
}

/// Runs a case on a fresh device for each side. Gives the case as it turned out, with the reasons
/// that it named before; or why this kernel cannot have the device.
pub fn run(programs: &Programs, case: &Case, device: &DeviceSpec) -> Result<Case, String> {
    let qemu = side(case, device, programs.qemu_io(), &["--image-opts"])?;
    let zblk = side(case, device, programs.zblk_io(), &[])?;
    let sides = qemu.outputs.iter().zip(&zblk.outputs);
    let mut steps: Vec<Step> = case
        .commands()
        .into_iter()
        .zip(sides)
        .map(|(command, (qemu, zblk))| step(case, command, merge(qemu, zblk)))
        .collect();
    if qemu.status != "0" || zblk.status != "0" {
        steps.push(step(case, STATUS, merge(&[qemu.status], &[zblk.status])));
    }
    // The zones are shown only where they differ: most cases ask for them anyway.
    let mut zones = merge(&qemu.zones, &zblk.zones);
    zones.retain(|(mark, _)| *mark != Mark::Both);
    if !zones.is_empty() {
        steps.push(step(case, ZONES, zones));
    }
    // The same command may stand twice; its reasons go by place, where places are as before.
    for (new, old) in steps.iter_mut().zip(&case.steps) {
        if new.command == old.command {
            new.reasons.clone_from(&old.reasons);
        }
    }
    Ok(Case { steps, ..case.clone() })
}

fn step(case: &Case, command: &str, lines: Vec<(Mark, String)>) -> Step {
    let old = case.steps.iter().find(|step| step.command == command);
    let reasons = old.map(|step| step.reasons.clone()).unwrap_or_default();
    Step { command: command.to_owned(), lines, reasons }
}

fn side(
    case: &Case,
    device: &DeviceSpec,
    mut program: Command,
    before_image: &[&str],
) -> Result<Done, String> {
    let fresh = Fresh::new(device)?;
    let (flags, options): (Vec<&String>, Vec<&String>) =
        case.open.iter().partition(|word| word.starts_with('-'));
    let image = match options.as_slice() {
        [] => USUAL,
        [image] => image.as_str(),
        _ => panic!("case '{}': the image is one word", case.name),
    };
    program.args(flags).args(before_image).arg(image.replace("DEVICE", &fresh.path));
    let commands = case.commands();
    for (i, command) in commands.iter().enumerate() {
        if i > 0 {
            program.args(["-c", "length"]);
        }
        program.args(["-c", command]);
    }
    let (lines, status) = output(program);
    let lines = lines.into_iter().filter_map(|line| normalize(&line, &fresh.path)).collect();
    Ok(Done { outputs: split(lines, commands.len()), status, zones: fresh.zones() })
}

/// Both streams of a program in the order in which they were written, and how it ended.
fn output(mut program: Command) -> (Vec<String>, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    program.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = program.spawn().unwrap_or_else(|e| panic!("cannot run {program:?}: {e}"));
    // The command holds ends of the pipe, too.
    drop(program);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let status = child.wait().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| line.trim_end().to_owned()).collect();
    (lines, status.code().map_or_else(|| status.to_string(), |code| code.to_string()))
}

/// What is wrong with a case, given how it turned out; nothing if all is as written.
pub fn judge(written: &Case, found: &Case, differences: &Differences) -> Vec<String> {
    let mut wrong = Vec::new();
    for step in &found.steps {
        let differs = step.lines.iter().any(|(mark, _)| *mark != Mark::Both);
        match (differs, step.reasons.is_empty()) {
            (true, true) => wrong.push(format!("the sides differ, without a reason:\n{step}")),
            (false, false) => {
                wrong.push(format!("the sides agree, but a reason is named:\n{step}"))
            }
            _ => {}
        }
        for reason in step.reasons.iter().filter(|reason| !differences.knows(reason)) {
            wrong.push(format!("there is no difference '{reason}'"));
        }
    }
    for (i, found) in found.steps.iter().enumerate() {
        match written.steps.get(i) {
            Some(step) if step == found => {}
            Some(step) if step.command == found.command => {
                wrong.push(format!("expected:\n{step}found:\n{found}"));
            }
            _ => wrong.push(format!("not expected:\n{found}")),
        }
    }
    if let Some(missing) = written.steps.get(found.steps.len()) {
        wrong.push(format!("expected, but not found:\n{missing}"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;

    fn case(steps: &str) -> Case {
        let script = Script::parse(&format!("device d null_blk\ncase a on d\n{steps}"));
        script.unwrap().cases().next().unwrap().clone()
    }

    #[test]
    fn any_change_on_either_side_is_wrong() {
        let list = Differences::parse("errno\n  Ours.\n").unwrap();
        let written = case("$ x\n= same\n- old\n+ new\n! errno\n$ (zones)\n- a\n+ b\n! errno\n");
        assert_eq!(judge(&written, &written, &list), [""; 0]);
        for (changed, complaint) in [
            ("$ x\n= same\n- OLD\n+ new\n! errno\n$ (zones)\n- a\n+ b\n! errno\n", "expected:"),
            ("$ x\n= same\n- old\n+ NEW\n! errno\n$ (zones)\n- a\n+ b\n! errno\n", "expected:"),
            ("$ x\n= SAME\n- old\n+ new\n! errno\n$ (zones)\n- a\n+ b\n! errno\n", "expected:"),
            ("$ x\n= same\n- old\n+ new\n! errno\n", "expected, but not found:\n$ (zones)"),
            ("$ x\n= same\n= new\n! errno\n$ (zones)\n- a\n+ b\n! errno\n", "the sides agree"),
            ("$ x\n= same\n- old\n+ new\n$ (zones)\n- a\n+ b\n! errno\n", "without a reason"),
            ("$ x\n= same\n- old\n+ new\n! nothing\n", "there is no difference 'nothing'"),
        ] {
            let wrong = judge(&written, &case(changed), &list).join("\n");
            assert!(wrong.contains(complaint), "{changed}: {wrong}");
        }
        let more = case("$ x\n= same\n- old\n+ new\n! errno\n$ (zones)\n- a\n+ b\n! errno\n$ y\n");
        assert!(judge(&written, &more, &list).join("\n").contains("not expected:\n$ y"));
    }

    #[test]
    fn both_streams_and_the_end_are_seen() {
        let mut program = Command::new("sh");
        program.args(["-c", "echo a; echo b >&2; echo 'c  '; exit 3"]);
        let (lines, status) = output(program);
        assert_eq!(lines, ["a", "b", "c"]);
        assert_eq!(status, "3");
    }
}

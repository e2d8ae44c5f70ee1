//! The file of cases: read from text, and written back.

use std::fmt::{self, Write as _};

/// A file of cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A comment or an empty line, as it is.
    Text(String),
    Device(DeviceSpec),
    Case(Case),
}

/// A kind of device with its settings, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    pub name: String,
    pub kind: String,
    pub settings: Vec<(String, String)>,
}

/// Commands for a fresh device, and what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub device: String,
    /// Options of the program, such as `-r`, and what is opened; empty for the usual ones.
    pub open: Vec<String>,
    /// The only kernel that it is for, as the lab calls it; empty for all.
    pub kernel: String,
    pub steps: Vec<Step>,
}

/// A command, and what it printed on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub command: String,
    pub lines: Vec<(Mark, String)>,
    /// The entries in the list of differences that explain why the sides differ.
    pub reasons: Vec<String>,
}

/// Who printed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Both,
    Qemu,
    Zblk,
}

/// The step that shows the exit status, if it is not 0 on both sides.
pub const STATUS: &str = "(exit status)";
/// The step that shows the zones themselves when the commands are through, where they differ.
pub const ZONES: &str = "(zones)";

/// Whether a step is no command, but something that is looked at after them.
fn is_aftermath(command: &str) -> bool {
    [STATUS, ZONES].contains(&command)
}

impl Script {
    /// Reads a file of cases.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (line, number) in text.lines().zip(1..) {
            script.line(line).map_err(|what| format!("line {number}: {what}: {line}"))?;
        }
        script.check()?;
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.trim().is_empty() || line.starts_with('#') {
            self.parts.push(Part::Text(line.to_owned()));
            return Ok(());
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "device" => {
                self.parts.push(Part::Device(device(rest).ok_or("not 'NAME KIND [KEY=VALUE…]'")?));
            }
            "case" => {
                let (name, device) = rest.rsplit_once(" on ").ok_or("not 'NAME on DEVICE'")?;
                self.parts.push(Part::Case(Case {
                    name: name.to_owned(),
                    device: device.to_owned(),
                    ..Case::default()
                }));
            }
            "open" => self.case()?.open = rest.split(' ').map(str::to_owned).collect(),
            "kernel" => rest.clone_into(&mut self.case()?.kernel),
            "$" => {
                let step = Step { command: rest.to_owned(), ..Step::default() };
                self.case()?.steps.push(step);
            }
            "=" => self.step()?.lines.push((Mark::Both, rest.to_owned())),
            "-" => self.step()?.lines.push((Mark::Qemu, rest.to_owned())),
            "+" => self.step()?.lines.push((Mark::Zblk, rest.to_owned())),
            "!" => {
                let reasons = rest.split(' ').map(str::to_owned).collect();
                self.step()?.reasons = reasons;
            }
            _ => return Err("unknown line"),
        }
        Ok(())
    }

    fn case(&mut self) -> Result<&mut Case, &'static str> {
        match self.parts.last_mut() {
            Some(Part::Case(case)) => Ok(case),
            _ => Err("this line belongs to a case"),
        }
    }

    fn step(&mut self) -> Result<&mut Step, &'static str> {
        self.case()?.steps.last_mut().ok_or("this line belongs to a command")
    }

    /// Names are unique, and devices are known.
    fn check(&self) -> Result<(), String> {
        let mut names: Vec<&str> = self.cases().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two cases have the name '{}'", pair[0]));
        }
        for case in self.cases() {
            if self.device(&case.device).is_none() {
                return Err(format!("case '{}': there is no device '{}'", case.name, case.device));
            }
            if case.commands().is_empty() {
                return Err(format!("case '{}' has no command", case.name));
            }
        }
        Ok(())
    }

    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        self.parts.iter().filter_map(|part| match part {
            Part::Case(case) => Some(case),
            _ => None,
        })
    }

    pub fn devices(&self) -> impl Iterator<Item = &DeviceSpec> {
        self.parts.iter().filter_map(|part| match part {
            Part::Device(spec) => Some(spec),
            _ => None,
        })
    }

    pub fn device(&self, name: &str) -> Option<&DeviceSpec> {
        self.devices().find(|spec| spec.name == name)
    }
}

impl Case {
    /// Whether it is for this kernel.
    pub fn is_for(&self, kernel: &str) -> bool {
        self.kernel.is_empty() || self.kernel == kernel
    }

    /// The commands alone.
    pub fn commands(&self) -> Vec<&str> {
        let commands = self.steps.iter().map(|step| step.command.as_str());
        commands.filter(|command| !is_aftermath(command)).collect()
    }
}

fn device(text: &str) -> Option<DeviceSpec> {
    let mut words = text.split(' ');
    let (name, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
    let pair = |word: &str| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    Some(DeviceSpec { name, kind, settings: words.map(pair).collect::<Option<_>>()? })
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => writeln!(f, "{text}")?,
                Part::Device(spec) => {
                    write!(f, "device {} {}", spec.name, spec.kind)?;
                    for (key, value) in &spec.settings {
                        write!(f, " {key}={value}")?;
                    }
                    writeln!(f)?;
                }
                Part::Case(case) => {
                    writeln!(f, "case {} on {}", case.name, case.device)?;
                    if !case.open.is_empty() {
                        writeln!(f, "open {}", case.open.join(" "))?;
                    }
                    if !case.kernel.is_empty() {
                        writeln!(f, "kernel {}", case.kernel)?;
                    }
                    for step in &case.steps {
                        write!(f, "{step}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        for (mark, text) in &self.lines {
            f.write_char(match mark {
                Mark::Both => '=',
                Mark::Qemu => '-',
                Mark::Zblk => '+',
            })?;
            writeln!(f, " {text}")?;
        }
        match self.reasons.is_empty() {
            true => Ok(()),
            false => writeln!(f, "! {}", self.reasons.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A comment.

device small null_blk size=24 zoned=1
device zns zns

case one on small
open -r driver=host_device,filename=DEVICE
$ zrp 0 1
= start: 0x0
$ zap 0 4k
- zone append failed: Input/output error
+ zone append failed: Invalid argument
! checked errno

case two on zns
kernel 6.1
$ length
= 24 MiB
";

    #[test]
    fn what_is_read_is_written_back() {
        let script = Script::parse(TEXT).unwrap();
        assert_eq!(script.to_string(), TEXT);
        assert_eq!(script.cases().count(), 2);
        let one = script.cases().next().unwrap();
        assert_eq!(one.open, ["-r", "driver=host_device,filename=DEVICE"]);
        assert_eq!(one.commands(), ["zrp 0 1", "zap 0 4k"]);
        assert_eq!(one.steps[1].reasons, ["checked", "errno"]);
        assert!(one.is_for("6.1") && one.is_for("6.12"));
        let two = script.cases().nth(1).unwrap();
        assert!(two.is_for("6.1") && !two.is_for("6.12"));
        assert_eq!(script.device("small").unwrap().settings[0].1, "24");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, complaint) in [
            ("$ zrp 0 1", "line 1: this line belongs to a case"),
            ("device d null_blk\ncase a on d\n= x", "line 3: this line belongs to a command"),
            ("device d null_blk\ncase a on d\n", "case 'a' has no command"),
            ("case a on d\n$ zrp 0 1", "there is no device 'd'"),
            ("device d\n", "line 1: not 'NAME KIND [KEY=VALUE…]'"),
            ("device d null_blk size\n", "line 1: not 'NAME KIND"),
            ("case a\n", "line 1: not 'NAME on DEVICE'"),
            ("hello", "line 1: unknown line: hello"),
            (
                "device d null_blk\ncase a on d\n$ x\n\ncase a on d\n$ x",
                "two cases have the name 'a'",
            ),
        ] {
            let error = Script::parse(text).unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}

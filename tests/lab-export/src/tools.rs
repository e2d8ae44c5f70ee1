//! Other programs.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Looks again and again for what is to come, with a pause of `step` in between; gives up after as
/// many pauses as `patience` has. Time in which the machine is stopped does not count.
pub fn wait_for<T>(
    patience: Duration,
    step: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let mut waited = Duration::ZERO;
    loop {
        let found = look();
        if found.is_some() || waited >= patience {
            return found;
        }
        std::thread::sleep(step);
        waited += step;
    }
}

/// Runs a program; gives its output, or what it complained of.
pub fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output();
    let output: Output = output.unwrap_or_else(|e| panic!("cannot run {program}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        let said = format!("{}\n{}", text(&output.stderr), text(&output.stdout));
        Err(format!("{program} {}: {}: {}", args.join(" "), output.status, said.trim()))
    }
}

/// Runs a program that must succeed; gives its output.
pub fn run(program: &str, args: &[&str]) -> String {
    try_run(program, args).unwrap_or_else(|why| panic!("{why}\n{}", kernel_says()))
}

/// The last of the kernel's messages.
pub fn kernel_says() -> String {
    let all = try_run("dmesg", &["--nopager"]).unwrap_or_default();
    let lines: Vec<_> = all.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Forgets what the kernel has read, so that it is read again.
pub fn drop_caches() {
    nix::unistd::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// A mounted file system, unmounted when this is dropped.
pub struct Mount {
    folder: String,
}

impl Mount {
    pub fn new(kind: &str, device: &Path, options: &str) -> Self {
        let folder = format!("/tmp/mounted-{}", device.file_name().unwrap().to_str().unwrap());
        std::fs::create_dir_all(&folder).unwrap();
        run("mount", &["-t", kind, "-o", options, device.to_str().unwrap(), &folder]);
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        Path::new(&self.folder)
    }

    /// Unmounts it, which writes all that is left; must succeed.
    pub fn unmount(self) {
        run("umount", &[&self.folder]);
        std::mem::forget(self);
    }

    /// Takes it out of sight, whatever its device is worth.
    pub fn abandon(self) {}
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = try_run("umount", &["-l", &self.folder]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    #[test]
    fn a_stopped_machine_has_not_waited() {
        let mut looks = 0;
        let found = wait_for(5 * STEP, STEP, || {
            looks += 1;
            // As if all stood still in the middle of it.
            std::thread::sleep(20 * STEP);
            (looks == 4).then_some(looks)
        });
        assert_eq!(found, Some(4));
    }

    #[test]
    fn patience_ends() {
        let mut looks = 0;
        let found: Option<()> = wait_for(5 * STEP, STEP, || {
            looks += 1;
            None
        });
        assert_eq!((found, looks), (None, 6));
    }
}

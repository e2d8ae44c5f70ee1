//! `zblk` where `io_uring` is forbidden, as in most containers: a filter of system calls answers its
//! set-up as a container's does, or as an old kernel does.
//!
//! The program under test is this executable itself, under another name: never a stale build.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

use libtest_mimic::{Arguments, Trial};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

/// errno(3)
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// include/uapi/asm-generic/unistd.h: the same number on every architecture.
const IO_URING_SETUP: i64 = 425;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().map(PathBuf::from);
    if called_as.as_deref().and_then(|path| path.file_name()) == Some(OsStr::new("zblk")) {
        return zblk::main();
    }
    let trial = |name, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let trials = vec![
        trial("aio=io_uring says that it is forbidden", a_wish_is_refused),
        trial("aio=io_uring says that the kernel has none", an_old_kernel_is_named),
        trial("--aio is a wish for all nodes that do not say it", a_wish_reaches_every_path),
        trial("without a wish threads do the work", threads_do_the_work),
        trial("a bench at depth 32 runs on threads", a_bench_on_threads_works),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs `zblk` in `folder` with `io_uring_setup` answered by this error.
fn zblk(folder: &Path, errno: u32, args: &[&str]) -> Output {
    let program = folder.join("zblk");
    if !program.exists() {
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null());
    // The filter is for one thread, and for what it starts.
    let confined = std::thread::spawn(move || {
        let rules = [(IO_URING_SETUP, Vec::new())].into_iter().collect();
        let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(errno));
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, allow, refuse, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        command.output().unwrap()
    });
    confined.join().unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk.img"), vec![0; 1 << 20]).unwrap();
    folder
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "nobody has to be told: {output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(errno: u32) -> String {
    let folder = folder();
    let image = "driver=raw,file.driver=file,file.filename=disk.img,file.aio=io_uring";
    let output = zblk(folder.path(), errno, &["read", image, "0", "4k"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn a_wish_is_refused() {
    let message = refused(EPERM);
    for part in ["aio=io_uring", "forbidden here", "container", "use aio=threads"] {
        assert!(message.contains(part), "{message}");
    }
}

fn an_old_kernel_is_named() {
    let message = refused(ENOSYS);
    for part in ["aio=io_uring", "this kernel has no io_uring", "use aio=threads"] {
        assert!(message.contains(part), "{message}");
    }
}

fn a_wish_reaches_every_path() {
    let folder = folder();
    let zblk = |args: &[&str]| zblk(folder.path(), EPERM, args);
    succeeded(&zblk(&["create", "zones.zbd", "--size", "16M", "--zone-size", "1M"]));
    // A path, and a node below another one.
    for image in ["disk.img", "zones.zbd"] {
        for wish in [["-i", "io_uring"], ["--aio", "io_uring"]] {
            let output = zblk(&["info", wish[0], wish[1], image]);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(message.contains("forbidden here"), "{message}");
        }
        succeeded(&zblk(&["info", "--aio", "threads", image]));
    }
    // What the image says counts more.
    let image = "driver=raw,file.driver=file,file.filename=disk.img,file.aio=threads";
    succeeded(&zblk(&["info", "--aio", "io_uring", image]));
    let image = "driver=raw,file.driver=file,file.filename=disk.img,file.aio=io_uring";
    let output = zblk(&["info", "--aio", "threads", image]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("forbidden here"), "{message}");
}

fn threads_do_the_work() {
    for errno in [EPERM, ENOSYS] {
        let folder = folder();
        let zblk = |args: &[&str]| succeeded(&zblk(folder.path(), errno, args));
        for image in
            ["disk.img", "driver=raw,file.driver=file,file.filename=disk.img,file.aio=auto"]
        {
            let words = [
                "io",
                image,
                "-c",
                "write -P 0x5a 4k 64k",
                "-c",
                "flush",
                "-c",
                "read -P 0x5a 4k 64k",
            ];
            assert!(zblk(&words).contains("read 65536/65536 bytes at offset 4096"));
        }
        zblk(&["create", "zones.zbd", "--size", "16M", "--zone-size", "1M"]);
        zblk(&["io", "zones.zbd", "-c", "zap -p 3M 1M"]);
        let zones = zblk(&["report", "zones.zbd", "--offset", "3M", "--count", "1", "--json"]);
        assert!(zones.contains("full"), "{zones}");
    }
}

fn a_bench_on_threads_works() {
    let folder = folder();
    let image = "driver=raw,file.driver=file,file.filename=disk.img";
    let args = ["bench", image, "--op", "randread", "--depth", "32", "--count", "2000", "--json"];
    let report = succeeded(&zblk(folder.path(), EPERM, &args));
    assert!(report.contains("ops_per_sec"), "{report}");
}

//! A device whose image becomes larger, or smaller, while it is exported.
#![allow(clippy::unwrap_used, clippy::panic)]

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_core::{ErrorKind, IoBufMut, IoVecMut};
use block_export::{Announcements, Export, Heard, Identity, Look, Reply, Request};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

struct Image {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

/// An image of 1 MiB, each byte a 7.
fn image() -> Image {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    Image { path, _dir: dir }
}

impl Image {
    /// As `truncate -s` does, which asks nobody.
    fn truncate(&self, length: u64) {
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(length).unwrap();
    }

    /// Exports what these options make of the image.
    async fn export(&self, options: &str) -> Export {
        export(options, &self.path).await
    }
}

/// The options end with the key of the node that is the file.
async fn export(options: &str, path: &Path) -> Export {
    let (_, key) = options.rsplit_once(',').unwrap();
    let path = path.display();
    let options = format!("{options}.driver=file,{key}.filename={path}");
    let backend = BlockBackend::open(&options).await.unwrap();
    Export::new(backend, Identity::default()).await.unwrap()
}

/// A look that went well: from, to, and when its users hear of it.
async fn look(export: &Export) -> (u64, u64, Heard) {
    let Look { from, to, heard } = export.look_again().await.unwrap();
    (from, to, heard.unwrap())
}

async fn refused(export: &Export, request: Request) -> &'static str {
    export.serve(request).await.unwrap_err().kind().name()
}

fn write(offset: u64) -> Request {
    Request::Write { offset, data: vec![9; 4096].into(), fua: true }
}

async fn read(export: &Export, offset: u64) -> Vec<u8> {
    let into = IoVecMut::from(IoBufMut::zeroed(4096));
    match export.serve(Request::Read { offset, into }).await.unwrap() {
        Reply::Read(bufs) => bufs.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_added_to_an_image_can_be_used_after_a_look_and_not_before() {
    let image = image();
    let export = image.export("driver=raw,file").await;
    assert_eq!(look(&export).await, (MIB, MIB, Heard::Now), "nothing has changed");
    image.truncate(2 * MIB + 100);
    assert_eq!(refused(&export, write(MIB)).await, "out-of-range");
    assert_eq!(export.length(), MIB);
    assert_eq!(look(&export).await, (MIB, 2 * MIB, Heard::Now), "whole blocks");
    assert_eq!(export.length(), 2 * MIB);
    export.serve(write(2 * MIB - 4096)).await.unwrap();
    assert_eq!(read(&export, 2 * MIB - 4096).await, [9; 4096]);
    assert_eq!(read(&export, MIB).await, [0; 4096], "new space");
    assert_eq!(read(&export, MIB - 4096).await, [7; 4096], "old data");
    assert_eq!(refused(&export, write(2 * MIB)).await, "out-of-range");
    assert_eq!(look(&export).await, (2 * MIB, 2 * MIB, Heard::Now));
    export.close().await.unwrap();
    let content = std::fs::read(&image.path).unwrap();
    assert_eq!(content.len(), 2 * 1024 * 1024 + 100, "the tail is left alone");
    assert_eq!(export.look_again().await.unwrap_err().kind().name(), "closed");
}

#[tokio::test]
async fn an_image_that_was_cut_is_told_and_the_device_keeps_its_length() {
    let image = image();
    let export = image.export("driver=raw,file").await;
    image.truncate(MIB / 2);
    let error = export.look_again().await.unwrap_err();
    let cut = ErrorKind::Shrunk { length: MIB, found: MIB / 2 };
    assert_eq!(error.kind().to_string(), cut.to_string());
    assert!(error.to_string().contains("shrank from 0x100000 to 0x80000 bytes"), "{error}");
    assert_eq!(export.length(), MIB);
    assert_eq!(read(&export, 0).await, [7; 4096], "what is left can be used");
    image.truncate(MIB);
    assert_eq!(look(&export).await, (MIB, MIB, Heard::Now));
    // The same for one that this process cuts.
    export.backend().resize(MIB / 2).await.unwrap();
    assert_eq!(export.look_again().await.unwrap_err().kind().name(), "shrunk");
    assert_eq!(refused(&export, write(MIB / 2)).await, "out-of-range");
}

#[tokio::test]
async fn a_window_follows_its_image_only_if_it_has_no_size() {
    let cases = [
        ("driver=raw,file", MIB, 3 * MIB),
        ("driver=raw,offset=512k,file", MIB / 2, 3 * MIB - MIB / 2),
        ("driver=raw,offset=256k,size=512k,file", MIB / 2, MIB / 2),
        ("driver=fault-inject,file", MIB, 3 * MIB),
        ("driver=fault-inject,file.driver=raw,file.file", MIB, 3 * MIB),
    ];
    for (options, from, to) in cases {
        let image = image();
        let export = image.export(options).await;
        image.truncate(3 * MIB);
        assert_eq!(look(&export).await, (from, to, Heard::Now), "{options}");
        assert_eq!(refused(&export, write(to)).await, "out-of-range", "{options}");
        export.serve(write(to - 4096)).await.unwrap();
        export.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_zoned_device_keeps_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.zbd");
    let geometry = GeometryConfig { size: 8 * MIB, zone_size: MIB, ..GeometryConfig::default() };
    create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
    let zoned = "driver=zoned-file,file";
    let windowed = "driver=raw,size=4M,file.driver=zoned-file,file.file";
    for (options, length) in [(zoned, 8 * MIB), (windowed, 4 * MIB)] {
        let export = export(options, &path).await;
        let more = std::fs::metadata(&path).unwrap().len() + MIB;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(more).unwrap();
        let error = export.look_again().await.unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
        assert!(error.to_string().contains("a zoned device keeps its size"), "{error}");
        assert_eq!(export.length(), length);
        export.close().await.unwrap();
    }
}

/// Answers announcements until none comes; the lengths that it heard.
async fn door(mut ear: Announcements, answers: Vec<block_core::Result<Heard>>) -> Vec<u64> {
    let mut heard = Vec::new();
    for answer in answers {
        let announcement = ear.next().await;
        heard.push(announcement.length());
        announcement.answer(answer);
    }
    heard
}

#[tokio::test]
async fn every_door_hears_of_a_new_length_and_is_waited_for() {
    let image = image();
    let export = image.export("driver=raw,file").await;
    drop(export.announcements());
    let asleep = Heard::Later("nobody is there");
    let doors = [
        tokio::spawn(door(export.announcements(), vec![Ok(Heard::Now), Ok(Heard::Now)])),
        tokio::spawn(door(export.announcements(), vec![Ok(asleep), Ok(Heard::Now)])),
    ];
    image.truncate(2 * MIB);
    assert_eq!(look(&export).await, (MIB, 2 * MIB, asleep));
    // Nothing new is announced to nobody.
    assert_eq!(look(&export).await, (2 * MIB, 2 * MIB, Heard::Now));
    image.truncate(3 * MIB);
    assert_eq!(look(&export).await, (2 * MIB, 3 * MIB, Heard::Now));
    for door in doors {
        assert_eq!(door.await.unwrap(), [2 * MIB, 3 * MIB]);
    }
    image.truncate(4 * MIB);
    assert_eq!(look(&export).await, (3 * MIB, 4 * MIB, Heard::Now), "both are gone");
}

#[tokio::test]
async fn what_a_door_could_not_tell_is_told_by_the_next_look() {
    let image = image();
    let export = image.export("driver=raw,file").await;
    let failure = || Err(ErrorKind::Unsupported("by this kernel".to_owned()).into());
    let answers = vec![failure(), failure(), Ok(Heard::Now)];
    let listening = tokio::spawn(door(export.announcements(), answers));
    image.truncate(2 * MIB);
    for _ in 0..2 {
        let Look { from, to, heard } = export.look_again().await.unwrap();
        // The device has its length all the same.
        assert_eq!((from, to, export.length()), (MIB, 2 * MIB, 2 * MIB));
        let error = heard.unwrap_err();
        assert!(error.to_string().contains("by this kernel"), "{error}");
    }
    assert_eq!(look(&export).await, (MIB, 2 * MIB, Heard::Now));
    assert_eq!(listening.await.unwrap(), [2 * MIB; 3]);
}

#[tokio::test]
async fn a_door_that_is_there_while_it_is_told_is_waited_for_and_one_that_dies_is_no_success() {
    let image = image();
    let export = image.export("driver=raw,file").await;
    let mut ear = export.announcements();
    image.truncate(2 * MIB);
    let looking = tokio::spawn({
        let export = export.clone();
        async move { export.look_again().await }
    });
    let announcement = ear.next().await;
    assert_eq!(export.length(), 2 * MIB, "who is told may ask for it at once");
    assert!(!looking.is_finished());
    drop(announcement);
    let error = looking.await.unwrap().unwrap().heard.unwrap_err();
    assert_eq!(error.kind().name(), "closed");
}

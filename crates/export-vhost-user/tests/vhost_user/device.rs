//! A device that is served, in a thread of its own.

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_export::{Export, Heard, Identity};
use export_vhost_user::{Server, Settings};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use virtio_driver::Guest;

pub const ZONE: u64 = 1 << 20;
/// Sectors of a zone.
pub const ZS: u64 = ZONE / 512;

/// Eight zones of 1 MiB: two conventional ones, then sequential ones of 768 KiB capacity.
pub fn geometry() -> GeometryConfig {
    GeometryConfig {
        size: 8 * ZONE,
        zone_size: ZONE,
        zone_capacity: Some(ZONE / 4 * 3),
        block_size: 512,
        conventional: 2,
        max_open: 2,
        max_active: 3,
    }
}

pub struct Served {
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    export: Export,
}

pub struct Spec {
    pub image: CreateOptions,
    pub read_only: bool,
    pub queues: u16,
}

impl Default for Spec {
    fn default() -> Self {
        Self { image: CreateOptions::new(geometry()), read_only: false, queues: 1 }
    }
}

impl Served {
    pub fn zoned(spec: Spec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.zbd");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(create_zoned(&path, &spec.image, false)).unwrap();
        let image = path.to_str().unwrap().to_owned();
        Self::image(dir, image, spec.read_only, spec.queues)
    }

    /// A regular image of this many bytes.
    pub fn regular(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.raw");
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        let image = path.to_str().unwrap().to_owned();
        Self::image(dir, image, false, 1)
    }

    pub fn image(dir: tempfile::TempDir, image: String, read_only: bool, queues: u16) -> Self {
        let socket = dir.path().join("socket");
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let server = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let builder = BlockBackend::builder().read_only(read_only);
                let backend = builder.open(&image).await.unwrap();
                let identity = Identity::new("a serial number of 20", read_only);
                assert!(identity.is_err());
                let identity = Identity::new("a serial number of 2", read_only).unwrap();
                let export = Export::new(backend, identity).await.unwrap();
                let settings = Settings { queues, ..Settings::default() };
                let mut server = Server::bind(export.clone(), &socket, settings).unwrap();
                ready.send(export.clone()).unwrap();
                tokio::select! {
                    served = server.serve() => served.unwrap(),
                    _ = stopped => {}
                }
                server.close().await.unwrap();
                export.close().await.unwrap();
            });
        });
        let export = is_ready.recv().unwrap();
        Self { dir, stop: Some(stop), server: Some(server), export }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub fn export(&self) -> &Export {
        &self.export
    }

    /// Makes a regular image so long, as another program would, and has the device look.
    pub fn grow(&self, bytes: u64) -> block_core::Result<Heard> {
        let image = self.dir.path().join("f.raw");
        let image = std::fs::OpenOptions::new().write(true).open(image).unwrap();
        image.set_len(bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let look = runtime.block_on(self.export.look_again())?;
        assert_eq!(look.to, bytes);
        look.heard
    }

    /// A guest that is connected, and has not begun.
    pub fn connect(&self, queues: u16) -> Guest {
        Guest::connect(&self.socket(), queues, 128, 8 << 20).unwrap()
    }

    /// A guest with running queues.
    pub fn guest(&self, queues: u16) -> Guest {
        let mut guest = self.connect(queues);
        guest.boot().unwrap();
        guest
    }

    /// Ends the server in order.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.end();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let ended = server.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

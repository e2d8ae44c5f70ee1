//! Images of emulated zoned devices as files: making and checking them.

use crate::builder::standard_drivers;
use block_core::graph::{Graph, Inherited};
use block_core::{Child, ErrorKind, ImageSpec, Options, Result};
use std::path::Path;
pub use zoned_file::{CheckReport, CreateOptions, Created, Finding, GeometryConfig};

/// Makes an emulated zoned device in the file at `path`, and makes it durable.
///
/// # Errors
/// `InvalidOption` for an impossible geometry, or a file that exists while `overwrite` is not
/// given: then nothing is touched. `Busy` if the file is in use. `NoSpace`, `Io`: a file that this
/// call made is removed again.
///
/// # Cancellation
/// A dropped future leaves the whole image or a file that is no image.
pub async fn create_zoned(
    path: &Path,
    options: &CreateOptions,
    overwrite: bool,
) -> Result<Created> {
    options.validate()?;
    let existed = std::fs::symlink_metadata(path).is_ok();
    file_posix::create(path, 0, overwrite).await?;
    let made = fill(path, options).await;
    if made.is_err() && !existed {
        // The error of the attempt is the one to tell; a file that cannot be removed stays.
        let _ = std::fs::remove_file(path);
    }
    made
}

async fn fill(path: &Path, options: &CreateOptions) -> Result<Created> {
    let Some(text) = path.to_str() else {
        return Err(invalid(format!("the path {} is not UTF-8", path.display())));
    };
    let graph = Graph::new(standard_drivers());
    let file = Options::driver("file").set("filename", text);
    let node = graph.open_options(file, Inherited::default()).await?;
    let child = node.attach(zoned_file::zoned_file_needs(true), "create")?;
    let created = zoned_file::create(&child, options).await?;
    close(&child).await?;
    Ok(created)
}

/// Verifies the image of an emulated zoned device, and with `repair` mends what can be mended
/// without losing data. See [`zoned_file::check`].
///
/// The image is given as a path, as options of the driver `zoned-file`, or as options of the node
/// on which the image lies.
///
/// # Errors
/// `InvalidImage` if it is no such image, or nothing of it can be relied on; `Busy`, `Io`.
pub async fn check_zoned(image: &str, repair: bool) -> Result<CheckReport> {
    let below = match ImageSpec::parse(image)? {
        ImageSpec::Path(path) => {
            let Some(text) = path.to_str() else {
                return Err(invalid(format!("the path {} is not UTF-8", path.display())));
            };
            Options::driver("file").set("filename", text)
        }
        ImageSpec::Options(options) => below_zoned_file(options)?,
    };
    let graph = Graph::new(standard_drivers());
    let inherited = Inherited { read_only: !repair, ..Inherited::default() };
    let node = graph.open_options(below, inherited).await?;
    let child = node.attach(zoned_file::zoned_file_needs(repair), "check")?;
    let report = zoned_file::check(&child, repair).await;
    close(&child).await.and(report)
}

async fn close(child: &Child) -> Result<()> {
    child.settle().await?;
    child.close().await
}

/// The options of the node below, if these are for a node of zoned-file.
fn below_zoned_file(options: Options) -> Result<Options> {
    if options.get("driver").and_then(|d| d.as_str()) != Some("zoned-file") {
        return Ok(options);
    }
    match options.get("file") {
        Some(serde_json::Value::Object(file)) => Ok(Options::from(file.clone())),
        _ => Err(invalid("driver 'zoned-file': missing option 'file'".to_owned())),
    }
}

fn invalid(message: String) -> block_core::Error {
    ErrorKind::InvalidOption(message).into()
}

//! The schemas that a catalog file names, by paths that start at the file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::bounds::FILE_BYTES_MAX;

/// Where schemas are read from.
pub(super) struct Schemas<'p> {
    /// The folder of the catalog file.
    pub(super) folder: &'p Path,
}

impl Schemas<'_> {
    /// The schema at a path; else why there is none, as the end of a sentence.
    pub(super) fn read(&self, path: &str) -> Result<Value, String> {
        let whole = self.folder.join(path);
        let text = read_text(&whole)
            .map_err(|reason| format!("cannot be read from {}: {reason}", whole.display()))?;
        serde_json::from_str(&text)
            .map_err(|error| format!("is not JSON: {}: {error}", whole.display()))
    }
}

/// A file of a size that it may have.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

//! Folders of this run, under `target/tmp`. They stay, for whoever looks into a failure, until the
//! next run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder of this run.
pub fn folder(name: &str) -> PathBuf {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    let folder = RUN.get_or_init(begin).join(name);
    fs::create_dir_all(&folder).expect("a folder under target/tmp can be made");
    folder
}

/// Deletes what runs left that have ended, and names this one's folder.
fn begin() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("kafka-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tmp.join(format!("kafka-{}", std::process::id()))
}

/// Where something is put that the runs to come shall not delete, as [`folder`] has them do.
pub fn kept(name: &str) -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.join(format!("kept-{}-{name}", std::process::id()))
}

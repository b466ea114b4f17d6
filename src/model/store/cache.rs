//! Fetched bundles, each in a folder that is named by its digest.
//!
//! Nothing in here is trusted: an entry is read as any bundle is, with every digest and signature
//! checked, and one that is damaged is fetched anew. So there is no lock and no `fsync`, several
//! instances may share a folder, and one that cannot be written to costs no more than a fetch at each start.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::model::bundle::{Bundle, MANIFEST, Terms};

/// Entries that stay, the ones used last: the served version, those that a rollback may want, and
/// other models of this machine.
const KEPT: usize = 16;
/// They may take so many times the bytes of the largest bundle that is allowed.
const KEPT_LARGEST: u64 = 2;
/// How the folders begin that are being filled.
const FILLING: &str = ".filling-";
/// An older one was left by a process that was killed: no fetch takes so long.
const LEFT_BEHIND: Duration = Duration::from_secs(7_200);

#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    /// Of the largest bundle that is allowed.
    bytes_max: u64,
}

/// The folder of this user's caches, as far as the environment says.
pub fn home() -> Option<PathBuf> {
    let set = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty());
    set("FORETELL_CACHE").map(PathBuf::from).or_else(|| {
        let home = || set("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Some(set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?.join("foretell"))
    })
}

impl Cache {
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { folder, bytes_max }
    }

    /// The bundle of this digest, if it is here and whole. `hex`: the digest's digits.
    pub fn read(&self, hex: &str, terms: Terms<'_>) -> Option<Bundle> {
        let entry = self.folder.join(hex);
        if !entry.exists() {
            return None;
        }
        match Bundle::read(&entry, terms) {
            Ok(bundle) => {
                self.touch(hex);
                Some(bundle)
            }
            Err(error) => {
                tracing::warn!(%error, "a bundle in the cache is not as it must be: it is fetched anew");
                None
            }
        }
    }

    /// The entry of this digest, if there is one, is used now.
    pub fn touch(&self, hex: &str) {
        let manifest = self.folder.join(hex).join(MANIFEST);
        let touched = File::options()
            .append(true)
            .open(manifest)
            .and_then(|manifest| manifest.set_modified(SystemTime::now()));
        // An entry that is gone, or of somebody else, costs a fetch at most.
        let _ = touched;
    }

    /// A folder to fill. `None`, and a word in the log, where none can be made.
    pub fn begin(&self) -> Option<Filling> {
        let made = fs::create_dir_all(&self.folder)
            .and_then(|()| tempfile::Builder::new().prefix(FILLING).tempdir_in(&self.folder));
        match made {
            Ok(folder) => Some(Filling { cache: self.clone(), folder, failed: None }),
            Err(error) => {
                warn(&self.folder, &error);
                None
            }
        }
    }
}

/// An entry in the making. Dropped, it leaves nothing.
pub struct Filling {
    cache: Cache,
    folder: TempDir,
    /// The first failure; after it nothing more is written, and nothing kept.
    failed: Option<io::Error>,
}

impl Filling {
    /// Writes one file. `name` is a plain file name: [`Bundle::assemble`] asks for no other.
    pub fn write(&mut self, name: &str, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = fs::write(self.folder.path().join(name), bytes).err();
        }
    }

    /// Puts the entry in its place, whole, and old ones away.
    pub fn keep(self, hex: &str) {
        let Self { cache, folder, failed } = self;
        let kept = match failed {
            Some(error) => Err(error),
            None => put(&folder, &cache.folder.join(hex)),
        };
        match kept.and_then(|()| cache.forget()) {
            Ok(()) => {}
            Err(error) => warn(&cache.folder, &error),
        }
    }
}

/// Renames `folder` to `entry`. What stood there is a damaged entry, or one that another instance
/// made meanwhile: either may go.
fn put(folder: &TempDir, entry: &Path) -> io::Result<()> {
    if fs::rename(folder, entry).is_ok() {
        return Ok(());
    }
    let old = folder.path().with_extension("old");
    let moved = fs::rename(entry, &old);
    let put = fs::rename(folder, entry);
    if moved.is_ok() {
        let _ = fs::remove_dir_all(&old);
    }
    put
}

impl Cache {
    /// Deletes all but the entries used last, and what killed processes left.
    fn forget(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for found in fs::read_dir(&self.folder)? {
            let found = found?;
            let name = found.file_name();
            let name = name.to_string_lossy();
            // Another instance may take one away at any time.
            let Ok(used) = used(&found.path()) else { continue };
            if name.starts_with(FILLING) {
                if now.duration_since(used).is_ok_and(|age| age > LEFT_BEHIND) {
                    let _ = fs::remove_dir_all(found.path());
                }
            } else if name.len() == 64 {
                entries.push((used, found.path()));
            }
        }
        entries.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        for (index, (_, entry)) in entries.into_iter().enumerate() {
            bytes += size(&entry);
            let is_kept = index < KEPT && bytes <= self.bytes_max.saturating_mul(KEPT_LARGEST);
            if !is_kept {
                let _ = fs::remove_dir_all(entry);
            }
        }
        Ok(())
    }
}

/// Bytes of its files.
fn size(entry: &Path) -> u64 {
    let files = fs::read_dir(entry).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// When it was last used: the time of the manifest, or the folder's where there is none yet.
fn used(entry: &Path) -> io::Result<SystemTime> {
    let manifest = fs::metadata(entry.join(MANIFEST));
    manifest.or_else(|_| fs::metadata(entry))?.modified()
}

fn warn(folder: &Path, error: &io::Error) {
    let folder = folder.display();
    tracing::warn!(
        %folder, %error,
        "a bundle is not kept, so the next start fetches it again: `model.cache_dir` must be a folder that can be written to"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bundle;

    const FILES: [&str; 3] = [MANIFEST, "model.txt", "golden.jsonl"];

    fn source() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1")
    }

    fn hex() -> String {
        bundle::sha256(&fs::read(source().join(MANIFEST)).unwrap())
    }

    fn fill(cache: &Cache, hex: &str) {
        let mut filling = cache.begin().unwrap();
        for name in FILES {
            filling.write(name, &fs::read(source().join(name)).unwrap());
        }
        filling.keep(hex);
    }

    fn read(cache: &Cache) -> Option<Bundle> {
        let digest = format!("sha256:{}", hex());
        let terms = Terms { digest: Some(&digest), bytes_max: 1 << 30, trusted_keys: &[] };
        cache.read(&hex(), terms)
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn an_entry_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("made/when/needed"), 1 << 30);
        assert!(read(&cache).is_none());
        let mut filling = cache.begin().unwrap();
        filling.write(MANIFEST, b"{}");
        drop(filling);
        assert_eq!(names(&cache.folder), 0);
        fill(&cache, &hex());
        assert_eq!(read(&cache).unwrap().manifest.version, "1");
        assert_eq!(names(&cache.folder), 1);
    }

    #[test]
    fn a_damaged_entry_is_none_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into(), 1 << 30);
        fill(&cache, &hex());
        let model = folder.path().join(hex()).join("model.txt");
        fs::write(&model, "cut short").unwrap();
        assert!(read(&cache).is_none());
        fill(&cache, &hex());
        assert!(read(&cache).is_some());
        assert_eq!(names(folder.path()), 1);
    }

    #[test]
    fn the_entries_used_last_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into(), 1 << 30);
        fill(&cache, &hex());
        let long_ago = SystemTime::now() - Duration::from_secs(86_400);
        for number in 0..KEPT {
            let name = format!("{number:064}");
            fill(&cache, &name);
            let manifest = folder.path().join(name).join(MANIFEST);
            File::options().append(true).open(manifest).unwrap().set_modified(long_ago).unwrap();
        }
        assert!(read(&cache).is_some(), "it is used again, so it is the newest");
        fill(&cache, &format!("{:064}", KEPT));
        assert_eq!(names(folder.path()), KEPT);
        assert!(read(&cache).is_some());
    }

    #[test]
    fn what_stays_is_bounded_in_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = size(&source());
        let cache = Cache::new(folder.path().into(), bundle);
        for number in 0..5 {
            fill(&cache, &format!("{number:064}"));
        }
        assert_eq!(names(folder.path()) as u64, KEPT_LARGEST);
        // The one that was fetched last is the one that serves.
        assert!(folder.path().join(format!("{:064}", 4)).exists());
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Cache::new(file.join("below"), 1 << 30).begin().is_none());
    }
}

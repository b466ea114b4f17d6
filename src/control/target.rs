//! What the loader goes after.

use super::registry::{Candidate, Source, Wanted};
use crate::model::version::Version;

/// A version that shall serve or wait, free of the registry's borrow.
#[derive(Debug, Clone)]
pub struct Target {
    pub version: String,
    pub control_offset: Option<i64>,
    /// A rollback chose it.
    pub is_return: bool,
    /// URI and digest; `None`: the configured bundle.
    pub bundle: Option<(String, String)>,
}

impl Target {
    pub fn of(wanted: Wanted<'_>) -> Self {
        let Wanted { version, source, control_offset, is_return } = wanted;
        Self { version: version.into(), control_offset, is_return, bundle: Self::bundle(source) }
    }

    pub fn waiting(candidate: Candidate<'_>) -> Self {
        let Candidate { version, source, control_offset, .. } = candidate;
        let control_offset = Some(control_offset);
        let bundle = Self::bundle(source);
        Self { version: version.into(), control_offset, is_return: false, bundle }
    }

    fn bundle(source: &Source) -> Option<(String, String)> {
        match source {
            Source::Configured { .. } => None,
            Source::Announced { uri, digest } => Some((uri.clone(), digest.clone())),
        }
    }

    /// Is it the same version, whatever chose it?
    pub fn is_like(&self, other: &Self) -> bool {
        self.version == other.version && self.bundle == other.bundle
    }

    /// Is this it?
    pub fn is(&self, version: &Version) -> bool {
        version.version == self.version
            && self.bundle.as_ref().is_none_or(|(_, digest)| *digest == version.digest)
    }
}

/// What a version is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To serve or wait for the first time: it has to prove itself on recent events as well.
    New,
    /// It has served before.
    Known,
    /// The same, and nobody has asked for it.
    StandsBy,
}

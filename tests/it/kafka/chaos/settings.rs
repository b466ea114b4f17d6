//! What a run is told, by environment variables: `make chaos` sets them.

use std::env;
use std::str::FromStr;

use super::fault::Fault;

pub struct Settings {
    /// `FORETELL_CHAOS_FAULTS`: so many faults.
    pub faults: usize,
    /// `FORETELL_CHAOS_SEED`.
    pub seed: u64,
    /// `FORETELL_CHAOS_PROFILE`.
    pub profile: Profile,
    /// `FORETELL_CHAOS_ONLY`, names separated by commas: these kinds of faults, one at a time.
    pub only: Vec<Fault>,
}

/// Which time-outs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `shipped`: the program's defaults on a broker as it comes.
    Shipped,
    /// `fast`, and the short form: docs/reliability.md has it.
    Fast,
}

impl Settings {
    pub fn from_environment() -> Self {
        let profile = match read::<String>("PROFILE").as_deref() {
            None | Some("fast") => Profile::Fast,
            Some("shipped") => Profile::Shipped,
            Some(other) => panic!("FORETELL_CHAOS_PROFILE={other} is neither shipped nor fast"),
        };
        let only = read::<String>("ONLY").unwrap_or_default();
        Self {
            faults: read("FAULTS").unwrap_or(20),
            seed: read("SEED").unwrap_or(6),
            profile,
            only: only.split(',').filter(|name| !name.is_empty()).map(Fault::by_name).collect(),
        }
    }
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Fast => "fast",
        }
    }
}

/// One that is empty is none: a Makefile passes all of them on.
fn read<T: FromStr>(name: &str) -> Option<T> {
    let name = format!("FORETELL_CHAOS_{name}");
    let text = env::var(&name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} cannot be read")))
}

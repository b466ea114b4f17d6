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
    /// `FORETELL_CHAOS_SET`, `key=value` separated by commas: what the instances' configuration says
    /// besides, in milliseconds.
    pub set: Vec<(String, i64)>,
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
        let set = read::<String>("SET").unwrap_or_default();
        Self {
            faults: read("FAULTS").unwrap_or(20),
            seed: read("SEED").unwrap_or(6),
            profile,
            only: words(&only).map(Fault::by_name).collect(),
            set: words(&set).map(pair).collect(),
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

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|word| !word.is_empty())
}

fn pair(text: &str) -> (String, i64) {
    let pair = text.split_once('=').and_then(|(key, value)| Some((key, value.parse().ok()?)));
    let (key, value) = pair.unwrap_or_else(|| panic!("{text} is no key=number"));
    (key.to_owned(), value)
}

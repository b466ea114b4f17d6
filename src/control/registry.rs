//! The registry: what the control log, read up to some offset, says shall serve.
//!
//! A pure fold: two instances that have read to the same offset want the same version, whenever and
//! how often they read. What an instance can actually load is the loader's matter.
//!
//! ```text
//!  announced ──immediate──▶ serves ──rollback──▶ rolled back ──announced again──▶ …
//!      └─hold, shadow─▶ waits ──promote──▶ serves
//!                         └─rollback──▶ rolled back
//! ```

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::message::{Criteria, Message, Rollout};

/// All that was said about one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    model: String,
    versions: BTreeMap<String, Announced>,
    /// What was chosen to serve, oldest first; the last one is what shall serve now.
    choices: Vec<Choice>,
}

/// A version as it was announced.
#[derive(Debug, Clone, PartialEq)]
struct Announced {
    source: Source,
    rolled_back: bool,
    /// It was announced with `hold` or `shadow`, and nothing has been decided since.
    waits: Option<Waits>,
}

/// How a version waits for `promote`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Waits {
    /// Offset of the announcement.
    control_offset: i64,
    is_shadow: bool,
    promote_when: Option<Criteria>,
}

/// Where a version's bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `model.bundle` of the configuration.
    Configured { digest: String },
    /// As its announcement said.
    Announced { uri: String, digest: String },
}

/// The version that the configuration names: it serves until something is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Configured {
    pub version: String,
    /// `sha256:…` of the bundle's manifest.
    pub digest: String,
}

impl Source {
    fn digest(&self) -> &str {
        match self {
            Self::Configured { digest } | Self::Announced { digest, .. } => digest,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    version: String,
    control_offset: Option<i64>,
    /// A rollback chose it.
    is_return: bool,
}

/// A version that shall serve, or would if those before it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub version: &'a str,
    pub source: &'a Source,
    /// Offset of the message that chose it; `None`: the configuration did.
    pub control_offset: Option<i64>,
    /// A rollback chose it.
    pub is_return: bool,
}

/// A version that waits for `promote`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    pub version: &'a str,
    pub source: &'a Source,
    /// Offset of its announcement.
    pub control_offset: i64,
    /// What it has to show for `promote` to be published, if that was said.
    pub promote_when: Option<Criteria>,
}

/// What a message changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Another version shall serve.
    Serves,
    /// A version is known now and waits for `promote`.
    Waits,
    /// A version that waited for `promote` does so no longer, and does not serve.
    Withdrawn,
    /// Nothing that serves: of another model, for workers or trainers, or said before.
    Nothing,
}

/// Why a message that could be read changes nothing. All instances refuse it alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("version `{0}` was never announced")]
    Unknown(String),
    #[error(
        "version `{0}` was announced or configured before with another digest: a version never changes"
    )]
    OtherDigest(String),
    #[error("version `{0}` was rolled back; it has to be announced again to serve")]
    RolledBack(String),
    #[error("no version served before `{0}` that could serve again")]
    NothingBefore(String),
}

impl Registry {
    /// A registry of `model` before anything was said.
    pub fn new(model: &str, configured: Option<&Configured>) -> Self {
        let mut registry =
            Self { model: model.into(), versions: BTreeMap::new(), choices: Vec::new() };
        if let Some(Configured { version, digest }) = configured {
            let source = Source::Configured { digest: digest.clone() };
            let announced = Announced { source, rolled_back: false, waits: None };
            registry.versions.insert(version.clone(), announced);
            registry.choose(version, None, false);
        }
        registry
    }

    /// Folds in the message at `offset` of the control log.
    ///
    /// # Errors
    /// It contradicts what was said before; nothing is changed.
    pub fn apply(&mut self, offset: i64, message: &Message) -> Result<Effect, Contradiction> {
        if message.model() != self.model {
            return Ok(Effect::Nothing);
        }
        match message {
            Message::RetrainComplete { version, uri, digest, rollout, promote_when, .. } => {
                let source = Source::Announced { uri: uri.clone(), digest: digest.clone() };
                let waits = match rollout {
                    Rollout::Immediate => None,
                    Rollout::Hold | Rollout::Shadow => Some(Waits {
                        control_offset: offset,
                        is_shadow: *rollout == Rollout::Shadow,
                        promote_when: *promote_when,
                    }),
                };
                self.announce(offset, version, source, waits)
            }
            Message::Promote { version, from, .. } => {
                self.promote(offset, version, from.as_deref())
            }
            Message::Rollback { from, to, .. } => self.roll_back(offset, from, to.as_deref()),
            Message::Resume { .. } | Message::RetrainRequest { .. } => Ok(Effect::Nothing),
        }
    }

    fn announce(
        &mut self,
        offset: i64,
        version: &str,
        source: Source,
        waits: Option<Waits>,
    ) -> Result<Effect, Contradiction> {
        let before = self.versions.get(version);
        if before.is_some_and(|before| before.source.digest() != source.digest()) {
            return Err(Contradiction::OtherDigest(version.into()));
        }
        // The configured bundle is at hand, wherever its announcement says that it is as well.
        let source = match before.map(|before| &before.source) {
            Some(configured @ Source::Configured { .. }) => configured.clone(),
            _ => source,
        };
        // What serves already goes on under the choice that brought it.
        let serves = self.current() == Some(version);
        let waits = waits.filter(|_| !serves);
        let announced = Announced { source, rolled_back: false, waits };
        self.versions.insert(version.into(), announced);
        if serves {
            return Ok(Effect::Nothing);
        }
        if waits.is_some() {
            // What waits is nobody's fallback, though it may have served before.
            self.choices.retain(|choice| choice.version != version);
            return Ok(Effect::Waits);
        }
        self.choose(version, Some(offset), false);
        Ok(Effect::Serves)
    }

    fn promote(
        &mut self,
        offset: i64,
        version: &str,
        from: Option<&str>,
    ) -> Result<Effect, Contradiction> {
        if from.is_some() && from != self.current() {
            return Ok(Effect::Nothing);
        }
        self.may_serve(version)?;
        if self.current() == Some(version) {
            return Ok(Effect::Nothing);
        }
        self.choose(version, Some(offset), false);
        Ok(Effect::Serves)
    }

    fn roll_back(
        &mut self,
        offset: i64,
        from: &str,
        to: Option<&str>,
    ) -> Result<Effect, Contradiction> {
        if let Some(announced) = self.versions.get_mut(from)
            && announced.waits.take().is_some()
        {
            announced.rolled_back = true;
            return Ok(Effect::Withdrawn);
        }
        if self.current() != Some(from) || to == Some(from) {
            return Ok(Effect::Nothing);
        }
        let before = self.choices.iter().rev().map(|choice| choice.version.as_str());
        let to = match to {
            Some(to) => to.to_owned(),
            None => before
                .filter(|version| *version != from)
                .find(|version| self.may_serve(version).is_ok())
                .ok_or_else(|| Contradiction::NothingBefore(from.into()))?
                .to_owned(),
        };
        self.may_serve(&to)?;
        if let Some(announced) = self.versions.get_mut(from) {
            announced.rolled_back = true;
        }
        self.choose(&to, Some(offset), true);
        Ok(Effect::Serves)
    }

    fn may_serve(&self, version: &str) -> Result<(), Contradiction> {
        match self.versions.get(version) {
            None => Err(Contradiction::Unknown(version.into())),
            Some(announced) if announced.rolled_back => {
                Err(Contradiction::RolledBack(version.into()))
            }
            Some(_) => Ok(()),
        }
    }

    /// A version stands among the choices once: where it was chosen last.
    fn choose(&mut self, version: &str, control_offset: Option<i64>, is_return: bool) {
        if let Some(announced) = self.versions.get_mut(version) {
            announced.waits = None;
        }
        self.choices.retain(|choice| choice.version != version);
        self.choices.push(Choice { version: version.into(), control_offset, is_return });
    }

    fn current(&self) -> Option<&str> {
        self.choices.last().map(|choice| choice.version.as_str())
    }

    /// What shall serve; then, for an instance that cannot load it, what served before, newest
    /// first. Versions that were rolled back are not among them.
    pub fn wanted(&self) -> impl Iterator<Item = Wanted<'_>> {
        self.choices.iter().rev().filter_map(|choice| {
            let announced = self.versions.get(&choice.version)?;
            (!announced.rolled_back).then_some(Wanted {
                version: &choice.version,
                source: &announced.source,
                control_offset: choice.control_offset,
                is_return: choice.is_return,
            })
        })
    }

    /// The versions that wait for `promote`, by name.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.waiting().map(|(candidate, _)| candidate)
    }

    /// The candidate that scores beside what serves: of those announced so, the last.
    pub fn shadow(&self) -> Option<Candidate<'_>> {
        let shadows = self.waiting().filter(|(_, waits)| waits.is_shadow);
        shadows.map(|(candidate, _)| candidate).max_by_key(|candidate| candidate.control_offset)
    }

    fn waiting(&self) -> impl Iterator<Item = (Candidate<'_>, Waits)> {
        self.versions.iter().filter_map(|(version, announced)| {
            let waits = announced.waits?;
            let Waits { control_offset, promote_when, .. } = waits;
            let source = &announced.source;
            Some((Candidate { version, source, control_offset, promote_when }, waits))
        })
    }

    /// May this version be asked for, or be what an instance falls back to?
    pub fn has_use_for(&self, version: &str) -> bool {
        let waits = || self.candidates().any(|candidate| candidate.version == version);
        self.wanted().any(|wanted| wanted.version == version) || waits()
    }

    /// May this version not serve before it is announced again?
    pub fn is_rolled_back(&self, version: &str) -> bool {
        self.versions.get(version).is_some_and(|announced| announced.rolled_back)
    }

    /// Where the bundle of an announced version is.
    pub fn source(&self, version: &str) -> Option<&Source> {
        self.versions.get(version).map(|announced| &announced.source)
    }
}

#[cfg(test)]
mod tests;

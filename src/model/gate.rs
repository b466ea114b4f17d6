//! The gate: what a version passes before it serves, in this order.
//!
//! fetch · signature · digest · manifest · import · contract · golden rows · warm-up
//!
//! and, on an instance, the recent events of its own traffic (`traffic.rs`).
//!
//! A refusal changes nothing: what served before goes on serving.

use std::path::Path;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bundle::{Bundle, BundleError, Terms};
use super::import::import;
use super::manifest::{GoldenRow, Manifest, TaskKind};
use super::signature::PublicKey;
use super::version::Version;
use super::{Model, largest};
use crate::compare;
use crate::features::contract::{Feature, Kind};
use crate::features::decode::{Decoder, Limits};
use crate::model::columns::{Column, ColumnKind};
use crate::score::Scorer;

/// Golden rows that are scored at a time: a matrix of all of them might not fit into memory.
const GOLDEN_TILE_ROWS: usize = 256;

/// What the gate and what it lets through are set up with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// JSON pointers that the encoder wants captured.
    pub captures: Vec<String>,
    pub limits: Limits,
    /// No larger bundle is taken into memory.
    pub bytes_max: u64,
    /// One of these must have signed the bundle. None: nobody needs to.
    pub trusted_keys: Vec<PublicKey>,
    /// Rows of a worker's tile: the warm-up scores one.
    pub tile_rows: usize,
}

/// What a bundle has to be: stated by its announcement. `None`: whatever it says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    pub model: Option<&'a str>,
    pub version: Option<&'a str>,
    pub digest: Option<&'a str>,
}

/// The check that a version failed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The bundle could not be read, or may not be.
    Fetch,
    /// Nobody who is trusted signed it.
    Signature,
    /// It is not the bundle that was announced, or a file is not the one its manifest names.
    Digest,
    /// The manifest is no manifest, or of another model or version.
    Manifest,
    /// The model file could not be read as its format says.
    Import,
    /// The contract does not fit the model.
    Contract,
    /// A golden row did not come out as recorded.
    Golden,
    /// On this instance's recent events it differs too much from what serves.
    Traffic,
}

impl Check {
    /// In the order they are made.
    pub const ALL: [Self; 8] = [
        Self::Fetch,
        Self::Signature,
        Self::Digest,
        Self::Manifest,
        Self::Import,
        Self::Contract,
        Self::Golden,
        Self::Traffic,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Signature => "signature",
            Self::Digest => "digest",
            Self::Manifest => "manifest",
            Self::Import => "import",
            Self::Contract => "contract",
            Self::Golden => "golden",
            Self::Traffic => "traffic",
        }
    }
}

/// Why a version may not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", check.as_str())]
pub struct Refusal {
    pub check: Check,
    pub message: String,
    /// Trying again later may help: what stores the bundle did not answer.
    pub is_transient: bool,
}

impl Refusal {
    pub fn new(check: Check, message: impl ToString) -> Self {
        Self { check, message: message.to_string(), is_transient: false }
    }
}

impl From<BundleError> for Refusal {
    fn from(error: BundleError) -> Self {
        let check = match error {
            BundleError::Uri { .. }
            | BundleError::NotAllowed { .. }
            | BundleError::Absent { .. }
            | BundleError::Read { .. }
            | BundleError::TooLarge { .. } => Check::Fetch,
            BundleError::Signature { .. } => Check::Signature,
            BundleError::NoDigest { .. }
            | BundleError::Announced { .. }
            | BundleError::Longer { .. }
            | BundleError::Digest { .. } => Check::Digest,
            BundleError::Manifest { .. } => Check::Manifest,
            BundleError::Golden { .. } => Check::Golden,
        };
        Self { is_transient: error.is_transient(), ..Self::new(check, error) }
    }
}

/// A version that passed, and what it said of itself.
#[derive(Debug)]
pub struct Admitted {
    pub version: Version,
    pub manifest: Manifest,
    /// The largest difference of a golden row's output to the recorded one, as [`Golden`] counts it.
    ///
    /// [`Golden`]: super::manifest::Golden
    pub golden_difference: f64,
    pub golden_rows: usize,
}

/// How long each check took, in the order they were made. Digests are checked as files are read, a
/// manifest as it is: that is the fetch's time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times(pub Vec<(Check, Duration)>);

impl Times {
    /// Makes a check and notes its time.
    pub fn of<T>(
        &mut self,
        check: Check,
        make: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let began = Instant::now();
        let made = make();
        self.0.push((check, began.elapsed()));
        made
    }

    /// Was this check made?
    pub fn has(&self, check: Check) -> bool {
        self.0.iter().any(|(made, _)| *made == check)
    }

    /// Of all checks together.
    pub fn sum(&self) -> Duration {
        self.0.iter().map(|(_, time)| *time).sum()
    }
}

/// Reads the bundle in `folder` and lets it through, or says which check it failed. `times` gets
/// those of the checks that were made.
pub fn admit(
    folder: &Path,
    expected: Expected<'_>,
    settings: &Settings,
    times: &mut Times,
) -> Result<Admitted, Refusal> {
    let bundle = times.of(Check::Fetch, || {
        let Settings { bytes_max, trusted_keys, .. } = settings;
        let terms = Terms { digest: expected.digest, bytes_max: *bytes_max, trusted_keys };
        Ok(Bundle::read(folder, terms)?)
    })?;
    judge(bundle, expected, settings, times)
}

/// Lets a bundle through that was read, or says which check it failed.
pub fn judge(
    bundle: Bundle,
    expected: Expected<'_>,
    settings: &Settings,
    times: &mut Times,
) -> Result<Admitted, Refusal> {
    is_expected(&bundle.manifest, expected)?;
    let version = assemble(&bundle, settings, times)?;
    let tolerance = bundle.manifest.golden.tolerance;
    let golden_difference = times.of(Check::Golden, || {
        let difference = golden(&version, &bundle.golden, tolerance)?;
        warm_up(&version, &bundle.golden, settings.tile_rows);
        Ok(difference)
    })?;
    Ok(Admitted {
        version,
        golden_difference,
        golden_rows: bundle.golden.len(),
        manifest: bundle.manifest,
    })
}

fn is_expected(manifest: &Manifest, expected: Expected<'_>) -> Result<(), Refusal> {
    let same = |what: &str, wanted: Option<&str>, found: &str| match wanted {
        Some(wanted) if wanted != found => Err(Refusal::new(
            Check::Manifest,
            format!("the manifest is of {what} `{found}`, `{wanted}` was announced"),
        )),
        _ => Ok(()),
    };
    same("model", expected.model, &manifest.model)?;
    same("version", expected.version, &manifest.version)
}

/// Imports the model and compiles its contract, column for column.
pub fn assemble(
    bundle: &Bundle,
    settings: &Settings,
    times: &mut Times,
) -> Result<Version, Refusal> {
    let manifest = &bundle.manifest;
    let engine = times.of(Check::Import, || {
        import(bundle.source()).map_err(|error| Refusal::new(Check::Import, error))
    })?;
    let decoder = times.of(Check::Contract, || {
        columns_agree(&engine, &manifest.features)?;
        outputs_agree(&engine, manifest)?;
        reference_agrees(&engine, manifest)?;
        Decoder::new(&manifest.features, &settings.captures, settings.limits)
            .map_err(|error| Refusal::new(Check::Contract, error))
    })?;
    Ok(Version {
        model: manifest.model.clone(),
        version: manifest.version.clone(),
        digest: bundle.digest.clone(),
        task: manifest.task.clone(),
        engine,
        contract: manifest.features.clone(),
        decoder,
        reference: manifest.reference.clone(),
        bytes: bundle.model.len() as u64,
    })
}

/// The contract's features are the model's columns, in the model's order.
fn columns_agree(engine: &Model, features: &[Feature]) -> Result<(), Refusal> {
    let columns = engine.columns();
    if columns.len() != features.len() {
        let message =
            format!("the model has {} columns, the contract {}", columns.len(), features.len());
        return Err(Refusal::new(Check::Contract, message));
    }
    for (number, (column, feature)) in columns.iter().zip(features).enumerate() {
        if let Some(what) = disagreement(column, feature) {
            return Err(Refusal::new(
                Check::Contract,
                format!("column {number} of the model {what}"),
            ));
        }
    }
    Ok(())
}

/// In what a column of the model and the contract's feature differ, if they do.
fn disagreement(column: &Column, feature: &Feature) -> Option<String> {
    let Column { name, named, kind } = column;
    // Without names of its own, order is all there is. LightGBM writes `_` for a space.
    if *named && *name != feature.name && *name != feature.name.replace(' ', "_") {
        return Some(format!("is `{name}`, of the contract `{}`", feature.name));
    }
    // Codes that mean other categories than in training give predictions that look right.
    match (kind, &feature.kind) {
        (ColumnKind::Coded(known), Kind::Category { vocabulary, .. })
            if !vocabulary.starts_with(known) =>
        {
            let differs = known.iter().zip(vocabulary).position(|(known, told)| known != told);
            let (known, place) = (known.len(), differs.unwrap_or(vocabulary.len()));
            Some(format!(
                "`{name}` knows {known} categories, the contract's vocabulary differs from number \
                 {place} on: a category's code is its place"
            ))
        }
        _ => None,
    }
}

fn outputs_agree(engine: &Model, manifest: &Manifest) -> Result<(), Refusal> {
    let outputs = engine.outputs();
    let labels = manifest.task.labels.len();
    let (fits, classes) = match manifest.task.kind {
        TaskKind::Multiclass => (outputs > 1, outputs),
        TaskKind::Binary => (outputs == 1, 2),
        TaskKind::Regression => (true, 0),
        TaskKind::Ranking | TaskKind::Anomaly => (outputs == 1, 0),
    };
    if !fits {
        let message = format!("a {:?} model has {outputs} outputs a row", manifest.task.kind);
        return Err(Refusal::new(Check::Contract, message.to_lowercase()));
    }
    if labels != 0 && labels != classes {
        let message = format!("there are {labels} labels for {classes} classes");
        return Err(Refusal::new(Check::Contract, message));
    }
    Ok(())
}

/// The reference is of these features and outputs.
fn reference_agrees(engine: &Model, manifest: &Manifest) -> Result<(), Refusal> {
    let Manifest { reference, features, .. } = manifest;
    let fault = reference.as_ref().and_then(|it| it.fault(features, engine.outputs()));
    let refused = |fault| Refusal::new(Check::Contract, format!("the reference: {fault}"));
    fault.map_or(Ok(()), |fault| Err(refused(fault)))
}

/// Scores the golden rows as production would; says the largest difference to what was recorded.
pub fn golden(version: &Version, rows: &[GoldenRow], tolerance: f64) -> Result<f64, Refusal> {
    if rows.is_empty() {
        return Err(Refusal::new(
            Check::Golden,
            "there are no golden rows: nothing shows that the model is read right",
        ));
    }
    let mut scorer = Scorer::new(GOLDEN_TILE_ROWS);
    let mut worst = 0.0_f64;
    for (tile, rows) in rows.chunks(GOLDEN_TILE_ROWS).enumerate() {
        let scores = scorer.score(version, rows.iter().map(|row| row.event.get().as_bytes()));
        for (index, row) in rows.iter().enumerate() {
            let line = tile * GOLDEN_TILE_ROWS + index + 1;
            let outputs = scores.outputs(index).map_err(|reject| {
                Refusal::new(Check::Golden, format!("row {line} is rejected: {reject}"))
            })?;
            let difference = difference(&row.output, outputs, version.task.kind)
                .filter(|difference| *difference <= tolerance);
            let Some(difference) = difference else {
                let message = format!(
                    "row {line} gives {}, {} was recorded (tolerance {tolerance})",
                    told(outputs),
                    told(&row.output)
                );
                return Err(Refusal::new(Check::Golden, message));
            };
            worst = worst.max(difference);
        }
    }
    Ok(worst)
}

/// How far outputs are from what was recorded, absolute up to 1 and relative above; `None` if there
/// is nothing to compare. Libraries have more than one way to say the same.
fn difference(recorded: &[f64], outputs: &[f64], kind: TaskKind) -> Option<f64> {
    let recorded = match (kind, recorded) {
        // `predict_proba`: a probability for each of the two classes.
        (TaskKind::Binary, [first, second]) if (first + second - 1.0).abs() < 1e-6 => {
            std::slice::from_ref(second)
        }
        // `predict`: the class alone (XGBoost's multi:softmax knows no other).
        (TaskKind::Multiclass, [class]) => {
            return (*class == largest(outputs) as f64).then_some(0.0);
        }
        _ => recorded,
    };
    // A row recorded as NaN is as good as none.
    let is_recorded = recorded.iter().all(|number| !number.is_nan());
    compare::difference(recorded, outputs).filter(|_| is_recorded)
}

/// Numbers as a list, if they are several.
fn told(numbers: &[f64]) -> String {
    match numbers {
        [one] => one.to_string(),
        several => format!("{several:?}"),
    }
}

/// Scores full tiles, so that the first live batch finds the model's memory mapped and in cache.
fn warm_up(version: &Version, rows: &[GoldenRow], tile_rows: usize) {
    let events: Vec<&[u8]> =
        rows.iter().cycle().take(tile_rows).map(|row| row.event.get().as_bytes()).collect();
    let mut scorer = Scorer::new(tile_rows);
    for _ in 0..2 {
        std::hint::black_box(scorer.score(version, events.iter().copied()).len());
    }
}

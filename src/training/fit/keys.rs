//! Which parameter belongs to which model, and what it may be.

use std::ops::RangeInclusive;

use super::Learner::{
    GradientBoostedTrees, Lasso, Logistic, RandomForestClassifier, RandomForestRegressor, Ridge,
};
use super::{Fit, FitError, Learner};

const FORESTS: &[Learner] = &[RandomForestClassifier, RandomForestRegressor];
const BOOSTING: &[Learner] = &[GradientBoostedTrees];
const TREES: &[Learner] = &[RandomForestClassifier, RandomForestRegressor, GradientBoostedTrees];
const PENALISED: &[Learner] = &[Logistic, Ridge, Lasso];

/// smartcore grows and we read boosted trees by recursion, at most as deep as serde_json reads.
const DEPTH_MAX: f64 = 100.0;
const ABOVE_0: f64 = f64::MIN_POSITIVE;

/// A key of [`Fit`].
struct Key {
    name: &'static str,
    /// What it is set to.
    value: Option<f64>,
    models: &'static [Learner],
    range: RangeInclusive<f64>,
}

impl Fit {
    /// Is there no key of another model, and each one in its range?
    pub fn check(&self) -> Result<(), FitError> {
        let keys = self.keys();
        let own = |key: &Key| key.models.contains(&self.model);
        for key in keys.iter().filter(|key| key.value.is_some()) {
            if !own(key) {
                let known: Vec<_> = keys.iter().filter(|key| own(key)).map(quoted).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let (name, model) = (key.name, self.model);
                let what =
                    format!("`{name}` is not a parameter of `{model}`\n\nhint: it has {known}");
                return Err(FitError::Parameters(what));
            }
            key.check()?;
        }
        Ok(())
    }

    fn keys(&self) -> Vec<Key> {
        let key = |name, value, models, range| Key { name, value, models, range };
        let count = |value: Option<usize>| value.map(|value| value as f64);
        let any = f64::MAX;
        // Without a penalty, ridge and lasso are `linear`, and smartcore's solvers fail.
        let alpha = if self.model == Logistic { 0.0 } else { ABOVE_0 };
        let classifier = &FORESTS[..1];
        vec![
            key("trees", self.trees.map(f64::from), TREES, 1.0..=f64::from(u16::MAX)),
            key("max_depth", self.max_depth.map(f64::from), TREES, 1.0..=DEPTH_MAX),
            key("min_samples_leaf", count(self.min_samples_leaf), FORESTS, 1.0..=any),
            key("min_samples_split", count(self.min_samples_split), FORESTS, 2.0..=any),
            key("features_per_split", count(self.features_per_split), FORESTS, 1.0..=any),
            key("criterion", self.criterion.map(|_| 0.0), classifier, 0.0..=0.0),
            key("learning_rate", self.learning_rate, BOOSTING, ABOVE_0..=1.0),
            key("min_child_weight", count(self.min_child_weight), BOOSTING, 0.0..=any),
            key("lambda", self.lambda, BOOSTING, 0.0..=any),
            key("gamma", self.gamma, BOOSTING, 0.0..=any),
            key("subsample", self.subsample, BOOSTING, ABOVE_0..=1.0),
            key("base_score", self.base_score, BOOSTING, -any..=any),
            key("alpha", self.alpha, PENALISED, alpha..=any),
            key("max_iter", count(self.max_iter), &[Lasso], 1.0..=any),
            key("tolerance", self.tolerance, &[Lasso], ABOVE_0..=1.0),
        ]
    }
}

impl Key {
    fn check(&self) -> Result<(), FitError> {
        let Some(value) = self.value.filter(|value| !self.range.contains(value)) else {
            return Ok(());
        };
        let low = match *self.range.start() {
            ABOVE_0 => "above 0".into(),
            f64::MIN => "finite".into(),
            low => format!("at least {low}"),
        };
        let high = match *self.range.end() {
            f64::MAX => String::new(),
            high => format!(" and at most {high}"),
        };
        Err(FitError::Parameters(format!("`{}` is {value}, it must be {low}{high}", self.name)))
    }
}

fn quoted(key: &Key) -> String {
    format!("`{}`", key.name)
}

//! How good each version was, by the pairs of a window.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::label::Label;
use super::metrics::{Bin, Classification, Regression, Undefined};
use super::said::Said;
use super::window::{Known, Pair, Window};
use crate::model::manifest::{Task, TaskKind};

/// How good a version was on the labelled events of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    pub version: String,
    /// Labelled events that it is judged by.
    pub rows: u64,
    /// Labelled events whose label is none of the version's classes, or no number.
    pub unusable: u64,
    /// By name: `auc`, `log_loss`, `brier`, `accuracy`, `f1` of classes; `rmse`, `mae`, `r2` of numbers. What
    /// cannot be said of these rows is absent.
    pub metrics: BTreeMap<String, f64>,
    /// Two classes: predicted and observed shares by probability. Else empty.
    pub calibration: Vec<Bin>,
}

/// Versions that are told apart: a report has a bound, whatever stands on the topic.
const VERSIONS_MAX: usize = 64;

/// Of the versions that have pairs, those with the most of them, by name.
pub fn measure(window: &Window) -> Vec<Quality> {
    let mut pairs: BTreeMap<&str, Vec<Pair<'_>>> = BTreeMap::new();
    for pair in window.pairs() {
        pairs.entry(pair.version).or_default().push(pair);
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, pairs)| Reverse(pairs.len()));
    pairs.truncate(VERSIONS_MAX);
    pairs.sort_by_key(|(version, _)| *version);
    let of = |(version, pairs): (&str, Vec<Pair<'_>>)| {
        window.known(version).map(|known| quality(version, known, &pairs))
    };
    pairs.into_iter().filter_map(of).collect()
}

/// Of the predictions that a version made by one choice of it alone, if any of them is labelled. What it made of an
/// earlier one may have been judged already.
pub fn of_choice(window: &Window, version: &str, control_offset: Option<i64>) -> Option<Quality> {
    let is_its = |pair: &Pair<'_>| pair.version == version && pair.control_offset == control_offset;
    let pairs: Vec<_> = window.pairs().filter(is_its).collect();
    let known = window.known(version).filter(|_| !pairs.is_empty())?;
    Some(quality(version, known, &pairs))
}

fn quality(version: &str, known: &Known, pairs: &[Pair<'_>]) -> Quality {
    let task = task(known, pairs);
    let usable: Vec<(f64, &Said)> =
        pairs.iter().filter_map(|pair| Some((pair.label.target(&task)?, pair.said))).collect();
    let (metrics, calibration) = match known.kind {
        TaskKind::Binary => named(binary(&usable)),
        TaskKind::Multiclass => named(multiclass(&usable, known.names.len())),
        _ => (regression(&usable), Vec::new()),
    };
    let metrics = metrics.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
    Quality {
        version: version.into(),
        rows: usable.len() as u64,
        unusable: (pairs.len() - usable.len()) as u64,
        metrics: metrics.filter(|(_, value): &(String, f64)| value.is_finite()).collect(),
        calibration,
    }
}

/// A version's task, as far as its predictions tell it. Of two classes each prediction names one: where all name the
/// same one, and the labels one other, that is the second.
fn task(known: &Known, pairs: &[Pair<'_>]) -> Task {
    let mut names = known.names.clone();
    if let (TaskKind::Binary, [Some(name), missing @ None] | [missing @ None, Some(name)]) =
        (known.kind, names.as_mut_slice())
    {
        let texts = pairs.iter().filter_map(|pair| match pair.label {
            Label::Text(text) if **text != **name => Some(&**text),
            _ => None,
        });
        let others: BTreeSet<&str> = texts.collect();
        if let (Some(other), 1) = (others.first(), others.len()) {
            *missing = Some((*other).to_owned());
        }
    }
    let is_named = names.iter().any(Option::is_some);
    // Nobody's label is empty, unless a class is called that.
    let labels = names.into_iter().filter(|_| is_named).map(Option::unwrap_or_default).collect();
    Task { kind: known.kind, labels, threshold: None }
}

type Named = Vec<(&'static str, Option<f64>)>;

fn named(found: Result<Classification, Undefined>) -> (Named, Vec<Bin>) {
    let Ok(Classification { accuracy, log_loss, f1, binary, .. }) = found else {
        return Default::default();
    };
    let mut metrics = vec![("accuracy", Some(accuracy)), ("log_loss", Some(log_loss)), ("f1", f1)];
    let calibration = binary.map(|binary| {
        metrics.extend([("auc", binary.auc), ("brier", Some(binary.brier))]);
        binary.calibration
    });
    (metrics, calibration.unwrap_or_default())
}

fn binary(pairs: &[(f64, &Said)]) -> Result<Classification, Undefined> {
    let (mut labels, mut classes, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
    for (label, said) in pairs {
        if let Said::Binary { class, probability } = said {
            labels.push(*label as usize);
            classes.push(*class);
            probabilities.push(*probability);
        }
    }
    Classification::predicted(&labels, &classes, &probabilities)
}

fn multiclass(pairs: &[(f64, &Said)], classes: usize) -> Result<Classification, Undefined> {
    let labels: Vec<usize> = pairs.iter().map(|(label, _)| *label as usize).collect();
    let probability = |(row, class): (usize, usize)| match pairs[row].1 {
        Said::Multiclass(probabilities) => probabilities.get(class).copied().unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    let probabilities = Array2::from_shape_fn((pairs.len(), classes), probability);
    Classification::multiclass(&labels, probabilities.view())
}

fn regression(pairs: &[(f64, &Said)]) -> Named {
    let (mut targets, mut values) = (Vec::new(), Vec::new());
    for (target, said) in pairs {
        if let Said::Value(value) = said {
            targets.push(*target);
            values.push(*value);
        }
    }
    let Ok(Regression { rmse, mae, r2 }) = Regression::new(&targets, &values) else {
        return Named::new();
    };
    // A square may be too large for a number. It is as bad as can be, and not nothing.
    let or = |value: f64, worst: f64| Some(if value.is_finite() { value } else { worst });
    let r2 = r2.and_then(|r2| or(r2, f64::MIN));
    vec![("rmse", or(rmse, f64::MAX)), ("mae", or(mae, f64::MAX)), ("r2", r2)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::label::Told;
    use crate::quality::said::Prediction;

    /// Pairs of a version: what it said, as JSON, and the label.
    #[track_caller]
    fn check(pairs: &[(&str, &str)], rows: u64, unusable: u64, metrics: &[(&str, f64)]) -> Quality {
        let mut window = Window::new(1000);
        for (id, (said, label)) in pairs.iter().enumerate() {
            let said = format!(r#"{{"id":{id},"model":"m","version":"7",{said}}}"#);
            let told = format!(r#"{{"id":{id},"label":{label}}}"#);
            window.predicted(0, 1, Prediction::parse(said.as_bytes()).unwrap()).unwrap();
            window.labelled(0, 1, Told::parse(told.as_bytes()).unwrap());
        }
        let found = measure(&window).pop().unwrap();
        assert_eq!((found.rows, found.unusable), (rows, unusable), "{found:?}");
        for (name, value) in metrics {
            let close = found.metrics.get(*name).is_some_and(|it| (it - value).abs() < 1e-12);
            assert!(close, "{name}: expected {value} in {:?}", found.metrics);
        }
        found
    }

    fn says(class: usize, label: &str, probability: f64) -> String {
        format!(r#""prediction":{class},"label":"{label}","probability":{probability}"#)
    }

    #[test]
    fn two_classes_have_a_calibration_and_labels_by_name_or_number() {
        let [low, high, middle] = [says(0, "no", 0.1), says(1, "yes", 0.8), says(1, "yes", 0.4)];
        let found = check(
            &[(&low, "0"), (&high, r#""yes""#), (&middle, "false"), (&low, r#""maybe""#)],
            3,
            1,
            // Its threshold is below 0.4.
            &[("auc", 1.0), ("accuracy", 2.0 / 3.0), ("brier", (0.01 + 0.04 + 0.16) / 3.0)],
        );
        assert_eq!(found.calibration.len(), 10);
        assert_eq!((found.calibration[8].rows, found.calibration[8].observed), (1, Some(1.0)));
        assert!(!found.metrics.contains_key("rmse"));
    }

    /// A version that says the same of every event must not seem to be without fault.
    #[test]
    fn the_class_that_is_never_predicted_is_known_by_its_label() {
        let same = says(0, "no", 0.1);
        check(&[(&same, r#""no""#), (&same, r#""yes""#)], 2, 0, &[("accuracy", 0.5), ("auc", 0.5)]);
        // Which of two others it is nobody can tell.
        check(
            &[(&same, r#""no""#), (&same, r#""yes""#), (&same, r#""yess""#)],
            1,
            2,
            &[("accuracy", 1.0)],
        );
        // A bundle without names has numbers only.
        let bare = r#""prediction":1,"probability":0.9"#;
        check(&[(bare, "1"), (bare, r#""1""#), (bare, r#""""#)], 1, 2, &[("accuracy", 1.0)]);
    }

    #[test]
    fn several_classes_are_in_the_order_of_the_prediction() {
        let a = r#""prediction":0,"label":"z","probabilities":{"z":0.5,"y":0.25,"x":0.25}"#;
        let b = r#""prediction":2,"label":"x","probabilities":{"z":0.125,"y":0.125,"x":0.75}"#;
        let found = check(
            &[(a, r#""z""#), (b, "2"), (b, r#""y""#), (b, r#""w""#)],
            3,
            1,
            &[
                ("accuracy", 2.0 / 3.0),
                ("log_loss", -(0.5_f64.ln() + 0.75_f64.ln() + 0.125_f64.ln()) / 3.0),
            ],
        );
        assert!(found.calibration.is_empty() && !found.metrics.contains_key("auc"));
    }

    #[test]
    fn numbers_are_judged_by_their_errors() {
        let (ten, twenty) = (r#""prediction":10"#, r#""prediction":20"#);
        check(
            &[(ten, "13"), (twenty, "16"), (twenty, r#""16""#)],
            2,
            1,
            &[("rmse", 12.5_f64.sqrt()), ("mae", 3.5)],
        );
        // None of a target that is constant, and none of nothing.
        let found = check(&[(ten, "13"), (twenty, "13")], 2, 0, &[("mae", 5.0)]);
        assert!(!found.metrics.contains_key("r2"));
        assert!(check(&[(ten, "true")], 0, 1, &[]).metrics.is_empty());
        // What runs away breaks every bound.
        let away = (r#""prediction":1e200"#, "3");
        let found = check(&[away, (ten, "13")], 2, 0, &[]);
        assert_eq!((found.metrics["rmse"], found.metrics["r2"]), (f64::MAX, f64::MIN));
    }

    #[test]
    fn what_a_version_made_before_it_was_chosen_again_is_not_of_the_choice() {
        let mut window = Window::new(1000);
        for (id, choice, label) in [(1, "3", 10), (2, "3", 20), (3, "9", 11), (4, "null", 7)] {
            let said = format!(
                r#"{{"id":{id},"prediction":10,"model":"m","version":"2","control_offset":{choice}}}"#
            );
            let told = format!(r#"{{"id":{id},"label":{label}}}"#);
            window.predicted(0, 1, Prediction::parse(said.as_bytes()).unwrap()).unwrap();
            window.labelled(0, 1, Told::parse(told.as_bytes()).unwrap());
        }
        let of = |choice| of_choice(&window, "2", choice).map(|it| (it.rows, it.metrics["mae"]));
        assert_eq!(
            [of(Some(3)), of(Some(9)), of(None)],
            [Some((2, 5.0)), Some((1, 1.0)), Some((1, 3.0))]
        );
        assert_eq!((of(Some(4)), measure(&window)[0].rows), (None, 4));
    }
}

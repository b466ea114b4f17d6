//! What a version has to reach on labelled events, and whether it does.

use super::measure::Quality;
use crate::config::Evaluate;

/// A metric and what it must not be below, or above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    pub metric: &'static str,
    /// The key that sets it.
    pub key: &'static str,
    pub limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    Min(f64),
    Max(f64),
}

/// The bounds that are configured.
pub fn bounds(config: &Evaluate) -> Vec<Bound> {
    let Evaluate {
        auc_min,
        accuracy_min,
        f1_min,
        r2_min,
        log_loss_max,
        brier_max,
        rmse_max,
        mae_max,
        ..
    } = *config;
    let least = [
        ("auc", "evaluate.auc_min", auc_min),
        ("accuracy", "evaluate.accuracy_min", accuracy_min),
        ("f1", "evaluate.f1_min", f1_min),
        ("r2", "evaluate.r2_min", r2_min),
    ];
    let most = [
        ("log_loss", "evaluate.log_loss_max", log_loss_max),
        ("brier", "evaluate.brier_max", brier_max),
        ("rmse", "evaluate.rmse_max", rmse_max),
        ("mae", "evaluate.mae_max", mae_max),
    ];
    let least = least.into_iter().map(|(metric, key, it)| (metric, key, it.map(Limit::Min)));
    let most = most.into_iter().map(|(metric, key, it)| (metric, key, it.map(Limit::Max)));
    let bound =
        |(metric, key, limit): (_, _, Option<Limit>)| Some(Bound { metric, key, limit: limit? });
    least.chain(most).filter_map(bound).collect()
}

/// Which bounds a version breaks, in words; `None`: it breaks none.
pub fn broken(quality: &Quality, bounds: &[Bound]) -> Option<String> {
    let faults = bounds.iter().filter_map(|bound| {
        let found = *quality.metrics.get(bound.metric)?;
        let metric = bound.metric;
        match bound.limit {
            Limit::Min(min) if found < min => Some(format!("{metric} {found:.4} is below {min}")),
            Limit::Max(max) if found > max => Some(format!("{metric} {found:.4} is above {max}")),
            _ => None,
        }
    });
    let faults: Vec<_> = faults.collect();
    let Quality { version, rows, .. } = quality;
    (!faults.is_empty())
        .then(|| format!("{} (version {version}, {rows} labelled events)", faults.join(", ")))
}

/// The bounds of metrics that this version does not have.
pub fn idle<'a>(quality: &'a Quality, bounds: &'a [Bound]) -> impl Iterator<Item = &'a Bound> {
    bounds.iter().filter(|bound| !quality.metrics.contains_key(bound.metric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(metrics: &[(&str, f64)]) -> Quality {
        Quality {
            version: "3".into(),
            rows: 4211,
            unusable: 0,
            metrics: metrics.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
            calibration: Vec::new(),
        }
    }

    #[test]
    fn what_breaks_a_bound_is_said_in_words() {
        let config = Evaluate {
            auc_min: Some(0.75),
            log_loss_max: Some(0.5),
            rmse_max: Some(1.0),
            ..Evaluate::default()
        };
        let bounds = bounds(&config);
        let check = |metrics: &[(&str, f64)], expect: Option<&str>| {
            assert_eq!(broken(&quality(metrics), &bounds).as_deref(), expect);
        };
        check(&[("auc", 0.75), ("log_loss", 0.5)], None);
        check(&[("accuracy", 0.1)], None);
        check(
            &[("auc", 0.71), ("log_loss", 0.4)],
            Some("auc 0.7100 is below 0.75 (version 3, 4211 labelled events)"),
        );
        check(
            &[("auc", 0.5), ("log_loss", 0.9)],
            Some(
                "auc 0.5000 is below 0.75, log_loss 0.9000 is above 0.5 (version 3, 4211 labelled events)",
            ),
        );
        let found = quality(&[("auc", 0.9), ("log_loss", 0.1)]);
        let idle: Vec<_> = idle(&found, &bounds).map(|bound| bound.key).collect();
        assert_eq!(idle, ["evaluate.rmse_max"]);
        assert!(super::bounds(&Evaluate::default()).is_empty());
    }
}

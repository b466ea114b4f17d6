//! The loss function, which says what a sum means.

use crate::model::import::ImportError;
use crate::model::link::Link;

use super::file::ModelInfo;

/// The classes of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Classes {
    /// One output that is no class's.
    None,
    /// One output, the probability of the second.
    Two,
    /// An output a class.
    Each,
}

/// Losses by name, and what `predict` of `CatBoostRegressor` and `CatBoostRanker` gives of a sum,
/// or `predict_proba` of `CatBoostClassifier`. Of the regressions only Poisson and Tweedie are
/// transformed (`_get_default_prediction_type` in `core.py`, `PrepareEval` in
/// `eval_helpers.cpp`); those with several outputs are no task of ours.
const LOSSES: &[(Link, Classes, &[&str])] = &[
    (SIGMOID, Classes::Two, &["Logloss", "CrossEntropy", "Focal"]),
    (Link::Softmax, Classes::Each, &["MultiClass"]),
    (SIGMOID, Classes::Each, &["MultiClassOneVsAll"]),
    (Link::Exp, Classes::None, &["Poisson", "Tweedie"]),
    (
        Link::Identity,
        Classes::None,
        &[
            "RMSE",
            "MAE",
            "Quantile",
            "LogLinQuantile",
            "Expectile",
            "MAPE",
            "Lq",
            "Huber",
            "LogCosh",
            "PairLogit",
            "PairLogitPairwise",
            "YetiRank",
            "YetiRankPairwise",
            "QueryRMSE",
            "QuerySoftMax",
            "QueryCrossEntropy",
            "StochasticFilter",
            "StochasticRank",
            "LambdaMart",
        ],
    ),
];

const SIGMOID: Link = Link::Sigmoid { scale: 1.0 };

/// The output transform of a model with so many outputs.
pub fn link(info: &ModelInfo, outputs: usize) -> Result<Link, ImportError> {
    let Some(params) = &info.params else {
        let what = "`model_info` has no `params`: what a prediction means is in its \
                    `loss_function`, so save a model as it was trained, not one put together";
        return Err(ImportError::new(what));
    };
    let loss = &params.loss_function.name;
    let known = LOSSES.iter().find(|(_, _, names)| names.contains(&loss.as_str()));
    let Some((link, classes, _)) = known else {
        let names: Vec<_> = LOSSES.iter().flat_map(|(_, _, names)| *names).copied().collect();
        let names = names.join(", ");
        let what =
            format!("loss function `{loss}` is not supported; train with one of these: {names}");
        return Err(ImportError::new(what));
    };
    let fits = match classes {
        Classes::None | Classes::Two => outputs == 1,
        Classes::Each => outputs > 1,
    };
    if !fits {
        let what = format!("`scale_and_bias` has {outputs} outputs, which `{loss}` never has");
        return Err(ImportError::new(what));
    }
    check_classes(info, *classes, outputs)?;
    Ok(*link)
}

/// Training data that lacks some of the classes makes a model with fewer outputs than classes.
fn check_classes(info: &ModelInfo, classes: Classes, outputs: usize) -> Result<(), ImportError> {
    let count = match classes {
        Classes::None => return Ok(()),
        Classes::Two => 2,
        Classes::Each => outputs,
    };
    let names = info.class_params.as_ref().map_or(0, |params| params.class_names.len());
    if names == 0 || names == count {
        return Ok(());
    }
    let what = format!("`class_params` names {names} classes, the trees have outputs for {count}");
    Err(ImportError::new(what))
}

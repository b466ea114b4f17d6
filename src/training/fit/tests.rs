//! What was fitted is what smartcore predicts, on rows that it has not seen, too.

use ndarray::{Array1, Array2, Axis, ShapeBuilder, array};
use proptest::prelude::*;
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::*;
use crate::model::import::{Source, import};
use crate::model::largest;

const FEATURES: usize = 3;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|feature| format!("f{feature}")).collect()
}

fn parsed(text: &str) -> Fit {
    toml::from_str(text).unwrap()
}

/// What the engine makes of it.
fn outputs(fitted: &Fitted, x: &Array2<f64>) -> Array2<f64> {
    import(Source::new(fitted.format, &fitted.bytes)).unwrap().outputs_of(x)
}

/// Rows to learn from, their classes of `classes`, their targets, and rows never seen.
#[derive(Debug)]
struct Rows {
    x: Array2<f64>,
    classes: Array1<f64>,
    targets: Array1<f64>,
    others: Array2<f64>,
}

/// Columns of equal values, of few and of many, small ones and seconds since 1970.
fn rows(classes: usize) -> impl Strategy<Value = Rows> {
    let cell = prop_oneof![(-3_i32..4).prop_map(f64::from), -2.0..2.0];
    let noise = prop::collection::vec(-1.0..1.0, 40);
    (8_usize..40, prop::collection::vec(cell, 2 * 40 * FEATURES), noise).prop_map(
        move |(rows, cells, noise)| {
            let cell = |row: usize, feature: usize| match (feature, cells[row * FEATURES + feature])
            {
                (1, cell) => 1.7e9 + 1e5 * cell,
                (_, cell) => cell,
            };
            let matrix = |from: usize| {
                Array2::from_shape_fn((rows, FEATURES).f(), |(row, f)| cell(from + row, f))
            };
            let x = matrix(0);
            let score = |row: usize| -> f64 { x[[row, 0]] - 2.0 * x[[row, 2]] + noise[row] };
            // The first rows are of each class, so that all occur.
            let class = |row: usize| match row < classes {
                true => row,
                false => (score(row).abs() as usize) % classes,
            };
            let classes = (0..rows).map(|row| class(row) as f64).collect();
            let targets = (0..rows).map(|row| 10.0 + score(row)).collect();
            Rows { classes, targets, others: matrix(40), x }
        },
    )
}

fn standard(rows: &Rows) -> [DenseMatrix<f64>; 2] {
    let scales: Vec<_> = rows.x.axis_iter(Axis(1)).map(lines::scale).collect();
    [&rows.x, &rows.others].map(|x| lines::standardised(x.view(), &scales))
}

fn check_close(found: &Array2<f64>, wanted: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.dim(), (wanted.len(), 1));
    for (found, wanted) in found.iter().zip(wanted) {
        prop_assert!(
            (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
            "{} {}",
            found,
            wanted
        );
    }
    Ok(())
}

fn forest() -> impl Strategy<Value = String> {
    let few = (1_u16..8, prop::option::of(1_u16..5), 1_usize..4, 2_usize..6, any::<u64>());
    few.prop_map(|(trees, depth, leaf, split, seed)| {
        let seed = seed >> 1;
        let depth = depth.map_or(String::new(), |depth| format!("max_depth = {depth}\n"));
        format!("trees = {trees}\nmin_samples_leaf = {leaf}\nmin_samples_split = {split}\nseed = {seed}\n{depth}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_forest_of_classes_gives_the_shares_of_its_votes(
        (classes, rows) in (2_usize..5).prop_flat_map(|classes| (Just(classes), rows(classes))),
        forest in forest(),
        criterion in prop::sample::select(vec!["gini", "entropy", "classification_error"]),
    ) {
        let model = "model = \"random_forest_classifier\"";
        let fit = parsed(&format!("{model}\ncriterion = \"{criterion}\"\n{forest}"));
        let fitted = super::fit(&fit, rows.x.view(), rows.classes.view(), &names(FEATURES), classes);
        let fitted = fitted.unwrap();
        let known = trees::matrix(rows.x.view());
        let theirs = trees::classifier(&fit, &known, rows.classes.view()).unwrap();
        for x in [&rows.x, &rows.others] {
            let found = outputs(&fitted, x);
            let x = trees::matrix(x.view());
            let said = theirs.predict(&x).unwrap();
            let votes = votes(&theirs, &x, classes);
            for (row, shares) in found.rows().into_iter().enumerate() {
                // Of two classes, there is the share of the second one.
                let shares = match classes {
                    2 => vec![1.0 - shares[0], shares[0]],
                    _ => shares.to_vec(),
                };
                prop_assert_eq!(largest(&shares), said[row] as usize);
                let trees = votes[row].iter().sum::<usize>() as f64;
                let counted: Vec<f64> = votes[row].iter().map(|votes| *votes as f64 / trees).collect();
                prop_assert_eq!(shares[1..].to_vec(), counted[1..].to_vec());
                prop_assert!((shares[0] - counted[0]).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn a_forest_of_numbers_is_smartcores_to_the_last_bit(rows in rows(2), forest in forest()) {
        let fit = parsed(&format!("model = \"random_forest_regressor\"\n{forest}"));
        let fitted = super::fit(&fit, rows.x.view(), rows.targets.view(), &names(FEATURES), 0).unwrap();
        let known = trees::matrix(rows.x.view());
        let theirs = trees::regressor(&fit, &known, rows.targets.view()).unwrap();
        for x in [&rows.x, &rows.others] {
            let wanted = theirs.predict(&trees::matrix(x.view())).unwrap();
            prop_assert_eq!(outputs(&fitted, x).into_raw_vec_and_offset().0, wanted);
        }
    }

    #[test]
    fn boosted_trees_are_smartcores_to_the_last_bit(
        rows in rows(2),
        (trees, depth, rate, subsample, seed) in (1_u16..12, 1_u16..6, 0.05..1.0, 0.3..=1.0, 0_u64..9),
        (lambda, gamma, weight) in (0.0..2.0, 0.0..0.2, 0_usize..4),
    ) {
        let fit = parsed(&format!(
            "model = \"gradient_boosted_trees\"\ntrees = {trees}\nmax_depth = {depth}\nseed = {seed}
             learning_rate = {rate:?}\nsubsample = {subsample:?}\nlambda = {lambda:?}\ngamma = {gamma:?}
             min_child_weight = {weight}"
        ));
        let fitted = super::fit(&fit, rows.x.view(), rows.targets.view(), &names(FEATURES), 0).unwrap();
        let parameters = trees::boosting(&fit, rows.targets.view());
        let (known, y) = (trees::matrix(rows.x.view()), rows.targets.to_vec());
        let theirs = trees::Boosted::fit(&known, &y, parameters).unwrap();
        for x in [&rows.x, &rows.others] {
            let wanted = theirs.predict(&trees::matrix(x.view())).unwrap();
            prop_assert_eq!(outputs(&fitted, x).into_raw_vec_and_offset().0, wanted);
        }
    }

    #[test]
    fn least_squares_are_smartcores(
        rows in rows(2),
        model in prop::sample::select(vec!["linear", "ridge", "lasso"]),
        alpha in prop::option::of(0.01..2.0),
    ) {
        let alpha = alpha.filter(|_| model != "linear");
        let alpha = alpha.map_or(String::new(), |alpha| format!("alpha = {alpha:?}"));
        let fit = parsed(&format!("model = \"{model}\"\n{alpha}"));
        let fitted = super::fit(&fit, rows.x.view(), rows.targets.view(), &names(FEATURES), 0).unwrap();
        let (y, mean) = lines::centred(rows.targets.view());
        let matrices = standard(&rows);
        for (x, standard) in [&rows.x, &rows.others].into_iter().zip(&matrices) {
            let wanted = match fit.model {
                Learner::Linear => lines::linear(&matrices[0], &y).unwrap().predict(standard),
                Learner::Ridge => lines::ridge(&fit, &matrices[0], &y).unwrap().predict(standard),
                _ => lines::lasso(&fit, &matrices[0], &y).unwrap().predict(standard),
            };
            let wanted: Vec<f64> = wanted.unwrap().into_iter().map(|said| said + mean).collect();
            check_close(&outputs(&fitted, x), &wanted)?;
        }
    }

    #[test]
    fn a_logistic_regression_predicts_smartcores_classes(
        (classes, rows) in (2_usize..5).prop_flat_map(|classes| (Just(classes), rows(classes))),
        alpha in 0.1..3.0,
    ) {
        let fit = parsed(&format!("model = \"logistic\"\nalpha = {alpha:?}"));
        let fitted = super::fit(&fit, rows.x.view(), rows.classes.view(), &names(FEATURES), classes);
        let fitted = fitted.unwrap();
        let matrices = standard(&rows);
        let theirs = lines::logistic(&fit, &matrices[0], rows.classes.view()).unwrap();
        for (x, standard) in [&rows.x, &rows.others].into_iter().zip(&matrices) {
            let found = outputs(&fitted, x);
            let said = theirs.predict(standard).unwrap();
            for (row, p) in found.rows().into_iter().enumerate() {
                let p = if classes == 2 { vec![1.0 - p[0], p[0]] } else { p.to_vec() };
                prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                // Which class is first among nearly equal ones is a matter of the last bits.
                let best = p[largest(&p)];
                prop_assert!(best - p[said[row] as usize] < 1e-9, "{:?} {}", p, said[row]);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes(rows in rows(2), seed in 0_u64..99) {
        for model in ["random_forest_classifier", "random_forest_regressor", "gradient_boosted_trees"] {
            let subsample = if model == "gradient_boosted_trees" { "subsample = 0.5" } else { "" };
            let fit = |seed| {
                let fit = parsed(&format!("model = \"{model}\"\ntrees = 5\nseed = {seed}\n{subsample}"));
                super::fit(&fit, rows.x.view(), rows.classes.view(), &names(FEATURES), 2).unwrap()
            };
            prop_assert_eq!(fit(seed), fit(seed));
        }
    }
}

/// Of each row, the trees that vote for each class: each tree alone is a forest of one.
fn votes(forest: &trees::Classifier, x: &DenseMatrix<f64>, classes: usize) -> Vec<Vec<usize>> {
    let whole = serde_json::to_value(forest).unwrap();
    let mut votes = vec![vec![0; classes]; x.shape().0];
    for tree in whole["trees"].as_array().unwrap() {
        let mut one = whole.clone();
        one["trees"] = vec![tree.clone()].into();
        let one: trees::Classifier = serde_json::from_value(one).unwrap();
        let said = one.predict(x).unwrap();
        said.into_iter().zip(&mut votes).for_each(|(class, votes)| votes[class as usize] += 1);
    }
    votes
}

/// 12 rows, three of each of 4 classes: a feature that tells, one that does not, one that is constant.
fn few() -> (Array2<f64>, Array1<f64>) {
    let cell = |(row, feature): (usize, usize)| match feature {
        0 => (row % 4) as f64 + 0.1 * (row / 4) as f64,
        1 => (row * 7 % 5) as f64,
        _ => 0.1,
    };
    (Array2::from_shape_fn((12, 3).f(), cell), (0..12).map(|row| (row % 4) as f64).collect())
}

const MODELS: [&str; 7] = [
    "random_forest_classifier",
    "random_forest_regressor",
    "gradient_boosted_trees",
    "logistic",
    "linear",
    "ridge",
    "lasso",
];

fn refused(fit: &str, x: &Array2<f64>, y: &Array1<f64>, classes: usize) -> String {
    let fitted = super::fit(&parsed(fit), x.view(), y.view(), &names(x.ncols()), classes);
    fitted.expect_err(fit).to_string()
}

#[test]
fn every_model_learns() {
    let (x, y) = few();
    for model in MODELS {
        // A forest's node is a leaf where the features drawn do not split it, as the constant one never does.
        let all = if model.starts_with("random") { "features_per_split = 3" } else { "" };
        let fit = parsed(&format!("model = \"{model}\"\n{all}"));
        let fitted = super::fit(&fit, x.view(), y.view(), &names(3), 4).unwrap();
        let found = outputs(&fitted, &x);
        for (row, found) in found.rows().into_iter().enumerate() {
            if fit.model.is_classifier() {
                assert_eq!(largest(&found.to_vec()) as f64, y[row], "{model} {found}");
            } else {
                assert!((found[0] - y[row]).abs() < 1.0, "{model} {found} {}", y[row]);
            }
        }
    }
}

#[test]
fn rows_that_teach_nothing_are_refused_by_every_model() {
    let (x, y) = few();
    let mut hole = x.clone();
    hole[[3, 1]] = f64::NAN;
    hole[[5, 1]] = f64::NAN;
    let mut endless = x.clone();
    endless[[3, 1]] = f64::INFINITY;
    for model in MODELS {
        let fit = format!("model = \"{model}\"");
        let part = |rows: usize, columns: usize| {
            let x = x.slice(ndarray::s![..rows, ..columns]).to_owned();
            refused(&fit, &x, &y.slice(ndarray::s![..rows]).to_owned(), 4)
        };
        assert_eq!(part(12, 0), "there is no feature to learn from");
        assert_eq!(part(0, 3), "there is no row to learn from");
        assert_eq!(part(1, 3), "there is but one row to learn from");
        let found = refused(&fit, &hole, &y, 4);
        assert!(found.starts_with(
            "feature `f1` is missing in 2 of 12 rows, first in row 3 (counted from 0)\n\nhint: "
        ));
        let found = refused(&fit, &endless, &y, 4);
        assert_eq!(found, "feature `f1` is infinite in row 3 (counted from 0)");
        let mut unknown = y.clone();
        unknown[7] = f64::NAN;
        let found = refused(&fit, &x, &unknown, 4);
        assert_eq!(found, "the target is NaN in row 7 (counted from 0)");
        let found = refused(&fit, &x, &Array1::ones(12), 2);
        let classifier = parsed(&fit).model.is_classifier();
        let wanted = match classifier {
            true => "class 0 does not occur; rows of each class: [0, 12]",
            false => "the target is 1 in every row: there is nothing to learn",
        };
        assert_eq!(found, wanted);
        if classifier {
            let wanted = "class 4 does not occur; rows of each class: [3, 3, 3, 3, 0]";
            assert_eq!(refused(&fit, &x, &y, 5), wanted);
            let wanted = "the target is 3 in row 3 (counted from 0), no class of 0 to 2";
            assert_eq!(refused(&fit, &x, &y, 3), wanted);
            let half = y.mapv(|class| class / 2.0);
            assert!(refused(&fit, &x, &half, 3).starts_with("the target is 0.5 in row 1"));
            let wanted = "a classifier needs two classes at least, there is 1";
            assert_eq!(refused(&fit, &x, &y, 1), wanted);
        }
    }
    let (few, targets) = (x.slice(ndarray::s![..3, ..]).to_owned(), array![1.0, 2.0, 3.0]);
    for model in ["linear", "ridge", "lasso"] {
        let found = refused(&format!("model = \"{model}\""), &few, &targets, 0);
        assert_eq!(found, "3 rows are too few for 3 features: there must be more");
    }
}

/// Where smartcore or its arithmetic gives up, there is an error, or a model that can be read.
#[test]
fn numbers_that_are_too_large_never_panic() {
    let (x, y) = few();
    for model in MODELS {
        let fit = parsed(&format!("model = \"{model}\""));
        for (by, to) in [(1e300, 1.0), (1e308, 1.0), (1.0, 5e307), (1e-320, 1.0), (1.0, 1e-320)] {
            let wide = x.mapv(|value| (value - 1.5) * by);
            let to = if fit.model.is_classifier() { 1.0 } else { to };
            let targets = y.mapv(|target| target * to);
            match super::fit(&fit, wide.view(), targets.view(), &names(3), 4) {
                Ok(fitted) => {
                    assert!(outputs(&fitted, &wide).iter().all(|v| !v.is_nan()), "{model}")
                }
                Err(FitError::Parameters(what)) => panic!("{model}: {what}"),
                Err(FitError::Data(_) | FitError::Library { .. }) => {}
            }
        }
    }
}

#[test]
fn a_key_of_another_model_or_out_of_range_is_refused_by_name() {
    let (x, y) = few();
    for (text, wanted) in [
        (
            "model = \"linear\"\nalpha = 1.0",
            "`alpha` is not a parameter of `linear`\n\nhint: it has none",
        ),
        (
            "model = \"lasso\"\ntrees = 7",
            "`trees` is not a parameter of `lasso`\n\nhint: it has `alpha`, `max_iter`, `tolerance`",
        ),
        (
            "model = \"random_forest_regressor\"\ncriterion = \"gini\"",
            "`criterion` is not a parameter of `random_forest_regressor`\n\nhint: it has `trees`, \
             `max_depth`, `min_samples_leaf`, `min_samples_split`, `features_per_split`",
        ),
        ("model = \"ridge\"\nalpha = 0.0", "`alpha` is 0, it must be above 0"),
        ("model = \"logistic\"\nalpha = nan", "`alpha` is NaN, it must be at least 0"),
        (
            "model = \"gradient_boosted_trees\"\nsubsample = 1.5",
            "`subsample` is 1.5, it must be above 0 and at most 1",
        ),
        (
            "model = \"gradient_boosted_trees\"\nbase_score = inf",
            "`base_score` is inf, it must be finite",
        ),
        (
            "model = \"gradient_boosted_trees\"\nmax_depth = 101",
            "`max_depth` is 101, it must be at least 1 and at most 100",
        ),
        (
            "model = \"random_forest_classifier\"\ntrees = 0",
            "`trees` is 0, it must be at least 1 and at most 65535",
        ),
    ] {
        assert_eq!(refused(text, &x, &y, 4), wanted);
    }
    let unknown = toml::from_str::<Fit>("model = \"lasso\"\nl1 = 1").unwrap_err().to_string();
    assert!(unknown.contains("unknown field `l1`"), "{unknown}");
    let unknown = toml::from_str::<Fit>("model = \"tree\"").unwrap_err().to_string();
    assert!(unknown.contains("unknown variant `tree`"), "{unknown}");
}

/// Seconds since 1970 beside a share: smartcore's own `normalize` takes the variance of the first for
/// noise.
#[test]
fn a_column_far_from_0_is_fitted_as_any_other() {
    let x = Array2::from_shape_fn((50, 2).f(), |(row, feature)| match feature {
        0 => 1.7e9 + row as f64,
        _ => (row * 7 % 11) as f64 / 11.0,
    });
    let y: Array1<f64> = x.rows().into_iter().map(|x| 0.5 * (x[0] - 1.7e9) - 4.0 * x[1]).collect();
    for (model, off) in [("linear", 1e-4), ("ridge", 1.0), ("lasso", 2.0)] {
        let fit = parsed(&format!("model = \"{model}\""));
        let fitted = super::fit(&fit, x.view(), y.view(), &names(2), 0).unwrap();
        let found = outputs(&fitted, &x);
        let worst = found.iter().zip(&y).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < off, "{model} is off by {worst}");
    }
}

#[test]
fn what_a_panic_said_is_told() {
    assert_eq!(said(&"no convergence"), "no convergence");
    assert_eq!(said(&"no convergence".to_owned()), "no convergence");
}

//! Values as scikit-learn 1.9.1 has them, and what must hold of any.

use ndarray::array;
use proptest::prelude::*;

use super::*;

fn check_close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-14, "{found} is not {wanted}");
}

/// ```python
/// import numpy as np
/// from sklearn.metrics import *
/// from sklearn.calibration import calibration_curve
/// y = np.array([0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1])
/// p = np.array([.05, .37, .37, .81, .5, .5, .92, .62, .18, .0, 1.0, .88])
/// c = (p >= .5).astype(int)
/// print(roc_auc_score(y, p), log_loss(y, p), brier_score_loss(y, p), accuracy_score(y, c),
///       f1_score(y, c), confusion_matrix(y, c), calibration_curve(y, p, n_bins=10))
/// ```
#[test]
fn two_classes_are_judged_as_scikit_learn_does() {
    let labels = [0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1];
    let p = [0.05, 0.37, 0.37, 0.81, 0.5, 0.5, 0.92, 0.62, 0.18, 0.0, 1.0, 0.88];
    let found = Classification::binary(&labels, &p, 0.5).unwrap();
    check_close(found.log_loss, 0.499_849_487_880_507_3);
    check_close(found.accuracy, 0.666_666_666_666_666_6);
    check_close(found.f1.unwrap(), 0.714_285_714_285_714_3);
    assert_eq!(found.confusion, [[3, 2], [2, 5]]);
    let binary = found.binary.unwrap();
    check_close(binary.auc.unwrap(), 0.799_999_999_999_999_9);
    check_close(binary.brier, 0.179_166_666_666_666_7);
    let bins = binary.calibration.iter();
    let filled = bins.filter_map(|bin| Some((bin.rows, bin.predicted?, bin.observed?)));
    let wanted = [
        (2, 0.025, 0.0),
        (1, 0.18, 1.0),
        (2, 0.37, 0.5),
        (2, 0.5, 0.5),
        (1, 0.62, 0.0),
        (2, 0.845, 1.0),
        (2, 0.96, 1.0),
    ];
    assert_eq!(filled.clone().count(), wanted.len());
    for ((rows, predicted, observed), wanted) in filled.zip(wanted) {
        assert_eq!((rows, observed), (wanted.0, wanted.2));
        check_close(predicted, wanted.1);
    }
}

/// ```python
/// y = np.array([0, 1, 2, 2, 1, 0, 2, 1])
/// p = np.array([[.7,.2,.1], [.3,.4,.3], [.1,.2,.7], [.5,.25,.25], [.2,.1,.7], [.4,.35,.25],
///               [0,0,1], [.25,.5,.25]])
/// c = p.argmax(1)
/// print(log_loss(y, p), accuracy_score(y, c), f1_score(y, c, average="macro"), confusion_matrix(y, c))
/// ```
#[test]
fn several_classes_are_judged_as_scikit_learn_does() {
    let p = array![
        [0.7, 0.2, 0.1],
        [0.3, 0.4, 0.3],
        [0.1, 0.2, 0.7],
        [0.5, 0.25, 0.25],
        [0.2, 0.1, 0.7],
        [0.4, 0.35, 0.25],
        [0.0, 0.0, 1.0],
        [0.25, 0.5, 0.25]
    ];
    let found = Classification::multiclass(&[0, 1, 2, 2, 1, 0, 2, 1], p.view()).unwrap();
    check_close(found.log_loss, 0.865_994_748_287_457);
    check_close(found.accuracy, 0.75);
    check_close(found.f1.unwrap(), 0.755_555_555_555_555_5);
    assert_eq!(found.confusion, [[2, 0, 0], [0, 2, 1], [1, 0, 2]]);
    assert_eq!(found.binary, None);
}

/// ```python
/// y, p = np.array([3.0, -0.5, 2.0, 7.0, 4.25]), np.array([2.5, 0.0, 2.0, 8.0, 3.5])
/// print(root_mean_squared_error(y, p), mean_absolute_error(y, p), r2_score(y, p))
/// ```
#[test]
fn a_regression_is_judged_as_scikit_learn_does() {
    let found = Regression::new(&[3.0, -0.5, 2.0, 7.0, 4.25], &[2.5, 0.0, 2.0, 8.0, 3.5]).unwrap();
    check_close(found.rmse, 0.642_261_628_933_256_4);
    check_close(found.mae, 0.55);
    check_close(found.r2.unwrap(), 0.932_817_589_576_547_3);
}

#[test]
fn what_is_not_defined_is_said() {
    assert_eq!(Classification::binary(&[], &[], 0.5), Err(Undefined::NoRows));
    assert_eq!(Regression::new(&[], &[]), Err(Undefined::NoRows));
    let nan = array![[0.5, 0.5], [f64::NAN, 0.5]];
    let wanted = Err(Undefined::NotFinite { row: 1 });
    assert_eq!(Classification::multiclass(&[0, 1], nan.view()), wanted);
    assert_eq!(Regression::new(&[1.0], &[f64::NAN]), Err(Undefined::NotFinite { row: 0 }));
    assert_eq!(Regression::new(&[0.1; 3], &[1.0; 3]).unwrap().r2, None);
    let one = Classification::binary(&[0, 0], &[0.1, 0.2], 0.5).unwrap();
    assert_eq!((one.f1, one.binary.unwrap().auc, one.accuracy), (None, None, 1.0));
}

/// What a report holds.
#[test]
fn two_classes_are_one_flat_object() {
    let found = Classification::binary(&[0, 1], &[0.25, 0.75], 0.5).unwrap();
    let found = serde_json::to_value(found).unwrap();
    assert_eq!((&found["auc"], &found["brier"]), (&1.0.into(), &0.0625.into()));
    assert_eq!(found["calibration"].as_array().unwrap().len(), BINS);
    let p = array![[0.2, 0.3, 0.5]];
    let several = Classification::multiclass(&[2], p.view()).unwrap();
    assert_eq!(serde_json::to_value(several).unwrap().get("auc"), None);
}

/// Labels, and probabilities of a grid: of few values, so that some are equal, and of which sums and
/// differences are exact.
fn rows() -> impl Strategy<Value = (Vec<usize>, Vec<f64>)> {
    let row = (0_usize..2, (0_u32..=32).prop_map(|p| f64::from(p) / 32.0));
    prop::collection::vec(row, 1..60).prop_map(|rows| rows.into_iter().unzip())
}

proptest! {
    #[test]
    fn the_area_counts_pairs((labels, p) in rows()) {
        let of = |class| labels.iter().zip(&p).filter(move |(y, _)| **y == class).map(|(_, p)| *p);
        let won = |one, zero| f64::from(u8::from(one > zero)) + f64::from(u8::from(one == zero)) / 2.0;
        let pairs: Vec<f64> = of(1).flat_map(|one| of(0).map(move |zero| won(one, zero))).collect();
        let wanted = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
        prop_assert_eq!(auc(&labels, &p), wanted);
    }

    #[test]
    fn the_area_knows_the_order_alone((labels, p) in rows()) {
        let squared: Vec<f64> = p.iter().map(|p| p * p).collect();
        prop_assert_eq!(auc(&labels, &squared), auc(&labels, &p));
        let turned: Vec<f64> = p.iter().map(|p| 1.0 - p).collect();
        if let (Some(turned), Some(area)) = (auc(&labels, &turned), auc(&labels, &p)) {
            prop_assert!((turned - (1.0 - area)).abs() < 1e-15);
        }
    }

    #[test]
    fn tables_hold_each_row_once((labels, p) in rows(), threshold in 0.0..1.0) {
        let found = Classification::binary(&labels, &p, threshold).unwrap();
        prop_assert_eq!(found.confusion.iter().flatten().sum::<u64>(), labels.len() as u64);
        let binary = found.binary.unwrap();
        prop_assert_eq!(binary.calibration.iter().map(|bin| bin.rows).sum::<usize>(), labels.len());
        for bin in binary.calibration {
            let inside = bin.predicted.is_none_or(|p| bin.from - 1e-12 <= p && p <= bin.to);
            prop_assert!(inside, "{:?}", bin);
        }
    }

    #[test]
    fn two_classes_are_judged_alike_by_one_column_and_by_two((labels, p) in rows()) {
        let both = ndarray::Array2::from_shape_fn((p.len(), 2), |(row, class)| {
            if class == 1 { p[row] } else { 1.0 - p[row] }
        });
        // Of equal ones the first class is predicted, by one column the second.
        let one = Classification::binary(&labels, &p, 0.5_f64.next_up()).unwrap();
        let two = Classification::multiclass(&labels, both.view()).unwrap();
        prop_assert_eq!((one.log_loss, one.confusion), (two.log_loss, two.confusion));
    }
}

//! Histograms against counting one by one, and what no reference may be.

use ndarray::{Array2, ShapeBuilder};
use proptest::prelude::*;

use super::*;
use crate::features::contract::{Term, Unknown};
use crate::features::decode::{Decoder, Limits};
use crate::model::manifest::TaskKind;
use crate::model::tiny;

fn feature(name: &str, kind: Kind) -> Feature {
    Feature { name: name.into(), path: format!("/{name}"), kind, required: false, missing: None }
}

fn category(terms: usize, unknown: Unknown) -> Kind {
    Kind::Category { vocabulary: (0..terms).map(|n| Term::Number(n as f64)).collect(), unknown }
}

fn task(kind: TaskKind, labels: &[&str]) -> Task {
    Task { kind, labels: labels.iter().map(|label| (*label).into()).collect(), threshold: None }
}

/// What is in the matrix for an unknown category.
fn unknown() -> f64 {
    let contract = [feature("c", category(2, Unknown::Missing))];
    let limits = Limits { event_bytes_max: 100, json_depth_max: 8 };
    let mut row = ndarray::Array1::zeros(1);
    let decoder = Decoder::new(&contract, &[], limits).unwrap();
    decoder.decode(br#"{"c":7}"#, row.view_mut(), &mut []).unwrap();
    row[0]
}

/// Of two columns, a number and a category, and one output: counted, and as they would be one by one.
fn one_by_one(reference: &Reference, x: &Array2<f64>, outputs: &Array2<f64>) -> Vec<Vec<u64>> {
    let columns = x.columns().into_iter().chain(outputs.columns());
    let histograms = reference.features.iter().chain(&reference.outputs);
    let count = |(histogram, column): (&Histogram, ArrayView1<'_, f64>)| {
        let last = histogram.bins.len();
        let mut cells = vec![0; last + 3];
        for v in column {
            let cell = match &histogram.bins {
                _ if v.to_bits() == unknown().to_bits() && histogram.name == "c" => last + 2,
                _ if v.is_nan() => last + 1,
                Bins::Edges(edges) => edges.iter().position(|edge| v <= edge).unwrap_or(last),
                Bins::Codes(codes) => {
                    codes.iter().position(|code| f64::from(*code) == *v).unwrap_or(last)
                }
            };
            cells[cell] += 1;
        }
        cells
    };
    histograms.zip(columns).map(count).collect()
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -3.0..3.0_f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1.0]),
    ]
}

fn code() -> impl Strategy<Value = f64> {
    prop_oneof![8 => (0..40_u32).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(unknown()), 1 => Just(-1.0)]
}

fn matrix(rows: &[(f64, f64, f64)]) -> (Array2<f64>, Array2<f64>) {
    // As the scorer has it: one above the other, with a gap below.
    let mut x = Array2::zeros((rows.len() + 3, 2).f());
    let mut outputs = Array2::zeros((rows.len(), 1));
    for (place, (number, code, output)) in rows.iter().enumerate() {
        (x[[place, 0]], x[[place, 1]], outputs[[place, 0]]) = (*number, *code, *output);
    }
    (x, outputs)
}

proptest! {
    /// Counting finds what one by one finds, in the rows that it was made of and in others; parts add up to the whole.
    #[test]
    fn counting_is_counting_one_by_one(
        training in prop::collection::vec((number(), code(), number()), 0..600),
        live in prop::collection::vec((number(), code(), number()), 0..600),
        cut in 0.0..1.0_f64,
    ) {
        let contract = [feature("x", Kind::Number), feature("c", category(38, Unknown::Missing))];
        let version = tiny::version("1", &["x", "c"], 0.5, [0.1, 0.9]);
        let task = task(TaskKind::Regression, &[]);
        let (x, outputs) = matrix(&training);
        let x = x.slice(ndarray::s![..training.len(), ..]).to_owned();
        let reference = Reference::of(&contract, &task, &version.engine, x.view(), outputs.view());
        prop_assert_eq!(reference.fault(&contract, 1), None);
        let cells: Vec<_> =
            reference.features.iter().chain(&reference.outputs).map(Histogram::cells).collect();
        prop_assert_eq!(&cells, &one_by_one(&reference, &x, &outputs));
        // As a manifest has it, to the last bit.
        let text = serde_json::to_string(&reference).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Reference>(&text).unwrap(), &reference);

        let (matrix, outputs) = matrix(&live);
        let x = matrix.slice(ndarray::s![..live.len(), ..]);
        let grid = Grid::new(&reference, &contract);
        let mut counted = vec![0; grid.cells()];
        let (first, second) = x.split_at(ndarray::Axis(0), (live.len() as f64 * cut) as usize);
        let (above, below) = outputs.view().split_at(ndarray::Axis(0), first.nrows());
        grid.count(first, above, &mut counted);
        grid.count(second, below, &mut counted);
        let counted: Vec<Vec<u64>> = grid.columns(&counted).map(<[u64]>::to_vec).collect();
        prop_assert_eq!(counted, one_by_one(&reference, &x.to_owned(), &outputs));
    }
}

/// Rows of one number each, of which the model says nothing new.
fn of(values: &[f64]) -> Reference {
    let x = Array2::from_shape_vec((values.len(), 1), values.to_vec()).unwrap();
    let version = tiny::version("1", &["x"], 4.5, [0.1, 0.9]);
    let task = task(TaskKind::Binary, &["no", "yes"]);
    Reference::of(&version.contract, &task, &version.engine, x.view(), x.view())
}

#[test]
fn a_forest_is_cut_where_it_splits_and_its_outputs_by_shares() {
    let values: Vec<f64> = (0..1000).map(|n| f64::from(n) / 100.0).collect();
    let reference = of(&values);
    let (x, probability) = (&reference.features[0], &reference.outputs[0]);
    // The other split, at a million, cuts nothing.
    assert_eq!((x.name.as_str(), &x.bins), ("x", &Bins::Edges(vec![4.5])));
    assert_eq!(x.counts, [451, 549]);
    assert_eq!((probability.name.as_str(), probability.counts.len()), ("probability", 10));
    assert_eq!((reference.rows, probability.counts.iter().sum::<u64>()), (1000, 1000));
}

#[test]
fn the_most_frequent_categories_have_bins_and_unknown_ones_their_own() {
    let vocabulary = 100;
    let contract = [feature("c", category(vocabulary, Unknown::Code))];
    // Category n is there n times, and twice the code of the unknown.
    let mut codes: Vec<f64> =
        (0..vocabulary).flat_map(|code| std::iter::repeat_n(code as f64, code)).collect();
    codes.extend([vocabulary as f64, vocabulary as f64, f64::NAN]);
    let x = Array2::from_shape_vec((codes.len(), 1), codes).unwrap();
    let version = tiny::version("1", &["c"], 4.5, [0.1, 0.9]);
    let task = task(TaskKind::Ranking, &[]);
    let reference = Reference::of(&contract, &task, &version.engine, x.view(), x.view());
    let Histogram { bins, counts, missing, unknown, .. } = &reference.features[0];
    assert_eq!(bins, &Bins::Codes((69..100).collect()));
    assert_eq!(counts[..2], [69, 70]);
    assert_eq!(counts.last(), Some(&(0..69).sum::<u64>()));
    assert_eq!((*missing, *unknown), (1, 2));
}

#[test]
fn features_that_say_nothing_still_tell_when_they_begin_to() {
    let grid = |training: &[f64], live: &[f64]| {
        let reference = of(training);
        let version = tiny::version("1", &["x"], 4.5, [0.1, 0.9]);
        let grid = Grid::new(&reference, &version.contract);
        let mut cells = vec![0; grid.cells()];
        let x = Array2::from_shape_vec((live.len(), 1), live.to_vec()).unwrap();
        grid.count(x.view(), x.view(), &mut cells);
        let found = grid.columns(&cells).next().unwrap().to_vec();
        crate::model::psi::psi(&reference.features[0].cells(), &found)
    };
    for (training, live) in [
        (5.0, 5.1),
        (5.0, 4.9),
        (5.0, f64::NAN),
        (f64::NAN, 5.0),
        (f64::INFINITY, 5.0),
        (f64::NEG_INFINITY, 5.0),
    ] {
        assert!(grid(&[training; 1000], &[live; 1000]) > 1.0, "{training} becomes {live}");
        assert!(grid(&[training; 1000], &[training; 500]) < 0.001, "{training} stays");
    }
}

#[test]
fn what_is_no_reference_of_the_contract_is_refused() {
    let contract = [feature("x", Kind::Number), feature("c", category(3, Unknown::Missing))];
    let histogram = |name: &str, bins: Bins, counts: usize| Histogram {
        name: name.into(),
        bins,
        counts: vec![1; counts],
        missing: 0,
        unknown: 0,
    };
    let x = || histogram("x", Bins::Edges(vec![1.0, 2.0]), 3);
    let y = || histogram("prediction", Bins::Edges(vec![0.5]), 2);
    let fault = |features: Vec<Histogram>, outputs: Vec<Histogram>| {
        Reference { rows: 3, features, outputs }.fault(&contract, 1)
    };
    // Features may be left out.
    assert_eq!(fault(vec![x()], vec![y()]), None);
    assert_eq!(fault(vec![], vec![y()]), None);
    for (features, outputs, what) in [
        (vec![x()], vec![], "histograms of outputs"),
        (vec![histogram("z", Bins::Edges(vec![]), 1)], vec![y()], "`z` is no feature"),
        (vec![x(), x()], vec![y()], "twice"),
        (vec![histogram("x", Bins::Codes(vec![]), 1)], vec![y()], "categories have codes"),
        (vec![histogram("c", Bins::Edges(vec![]), 1)], vec![y()], "categories have codes"),
        (vec![histogram("x", Bins::Edges(vec![2.0, 1.0]), 3)], vec![y()], "rising"),
        (vec![histogram("x", Bins::Edges(vec![1.0, 1.0]), 3)], vec![y()], "rising"),
        (vec![histogram("x", Bins::Edges(vec![f64::NAN]), 2)], vec![y()], "rising"),
        (vec![histogram("x", Bins::Edges(vec![1.0]), 1)], vec![y()], "one count more"),
        (vec![histogram("c", Bins::Codes((0..64).collect()), 65)], vec![y()], "fewer than 64"),
        (vec![x()], vec![histogram("prediction", Bins::Codes(vec![1]), 2)], "`prediction`"),
    ] {
        let found = fault(features, outputs);
        assert!(found.as_ref().is_some_and(|it| it.contains(what)), "`{what}` in {found:?}");
    }
}

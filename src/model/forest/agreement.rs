//! All forms of a tree give the same sums, bit for bit: those of a plain walk that reads like the
//! definition of [`Test`]. Rows are of the kinds that part good engines from wrong ones.

use std::ops::Range;

use ndarray::{Array2, ShapeBuilder, s};
use proptest::prelude::*;

use super::inputs::SINGLE_CODES;
use super::tree::{CategorySet, Child, Coding, Side, Split, Test, Tree, ZERO, contains};
use super::{Ensemble, Finish, Forest, Precision, Scratch, Sum};
use crate::model::columns::{Column, ColumnKind};
use crate::model::link::Link;

const FEATURES: usize = 4;

/// Values where comparisons go wrong, when they do.
const EDGES: [f64; 16] = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    ZERO,
    -ZERO,
    1.1e-35,
    -1.1e-35,
    1.0,
    31.5,
    32.0,
    -1.0,
    1e300,
    f64::MAX,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

/// A split, and which leaf it takes the place of, as a fraction of the leaves there are.
type Growth = (f64, usize, Test);

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![prop::sample::select(&EDGES[..]), -4.0..4.0, (-40_i32..40).prop_map(f64::from)]
}

fn value() -> impl Strategy<Value = f64> {
    let near = |v: f64| prop::sample::select(vec![v, v.next_up(), v.next_down()]);
    prop_oneof![1 => Just(f64::NAN), 9 => number().prop_flat_map(near)]
}

fn test() -> impl Strategy<Value = Test> {
    let side = prop::sample::select(vec![Side::Left, Side::Right]);
    let test = (number(), side, prop::bool::weighted(0.2)).prop_map(
        |(threshold, missing, zero_is_missing)| Test::Number {
            threshold,
            missing,
            zero_is_missing,
        },
    );
    let set = prop::collection::vec(any::<u32>(), 0..3).prop_map(CategorySet::new);
    let side = prop::sample::select(vec![Side::Left, Side::Right]);
    let coding = prop::sample::select(vec![Coding::Truncated, Coding::Single]);
    let category = (set, side, coding).prop_map(|(set, missing, coding)| Test::Category {
        set,
        missing,
        coding,
    });
    prop_oneof![3 => test, 1 => category]
}

/// A tree for one output, or for all.
fn tree(splits_max: usize, outputs: usize) -> impl Strategy<Value = Tree> {
    let growth = prop::collection::vec((0.0..1.0, 0..FEATURES, test()), 0..=splits_max);
    let one = (0..outputs).prop_map(|output| output..output + 1);
    let outputs = prop_oneof![one, Just(0..outputs)];
    (growth, any::<u32>(), outputs).prop_map(|(growth, seed, outputs)| grow(growth, seed, outputs))
}

/// Split k takes the place of a leaf, keeps its number on the left and makes leaf k + 1 on the
/// right: so a trainer grows them.
fn grow(growth: Vec<Growth>, seed: u32, outputs: Range<usize>) -> Tree {
    let mut splits: Vec<Split> = Vec::new();
    for (number, (place, feature, test)) in growth.into_iter().enumerate() {
        let leaf = Child::Leaf((place * (number + 1) as f64) as usize);
        for above in &mut splits {
            for child in [&mut above.left, &mut above.right] {
                if *child == leaf {
                    *child = Child::Split(number);
                }
            }
        }
        splits.push(Split { feature, test, left: leaf, right: Child::Leaf(number + 1) });
    }
    let value = |number| 1.0 / (f64::from(seed) + 0.1 + number as f64);
    let leaves = (0..(splits.len() + 1) * outputs.len()).map(value).collect();
    Tree::new(splits, leaves, outputs, FEATURES).unwrap()
}

fn ensemble(trees: Vec<Tree>, sum: &Sum) -> Ensemble {
    let column = |feature| Column::named(format!("f{feature}"), ColumnKind::Number);
    let columns = (0..FEATURES).map(column).collect();
    Ensemble { columns, trees, sum: sum.clone(), link: Link::Identity }
}

/// The leaf that a row reaches.
fn walk(tree: &Tree, row: &[f64]) -> usize {
    let mut child = tree.root();
    loop {
        match child {
            Child::Leaf(leaf) => return leaf,
            Child::Split(split) => {
                let split = &tree.splits()[split];
                child = match goes(&split.test, row[split.feature]) {
                    Side::Left => split.left,
                    Side::Right => split.right,
                };
            }
        }
    }
}

fn goes(test: &Test, v: f64) -> Side {
    let left = match test {
        Test::Number { missing, .. } | Test::Category { missing, .. } if v.is_nan() => {
            return *missing;
        }
        Test::Number { missing, zero_is_missing: true, .. } if v.abs() <= ZERO => return *missing,
        Test::Number { threshold, .. } => v <= *threshold,
        Test::Category { set, coding: Coding::Truncated, .. } => {
            v > -1.0 && v < 2_147_483_648.0 && contains(set.words(), v.trunc() as u32)
        }
        Test::Category { set, coding: Coding::Single, .. } => {
            let v = v as f32;
            v >= 0.0 && v < SINGLE_CODES as f32 && contains(set.words(), v as u32)
        }
    };
    if left { Side::Left } else { Side::Right }
}

/// What the definition gives: sums in tree order, in f64 or in f32.
fn sums(trees: &[Tree], sum: &Sum, row: &[f64]) -> Vec<f64> {
    let mut double = sum.start.clone();
    let mut single: Vec<f32> = sum.start.iter().map(|start| *start as f32).collect();
    for tree in trees {
        for (output, value) in tree.outputs().zip(tree.leaf(walk(tree, row))) {
            double[output] += value;
            single[output] += *value as f32;
        }
    }
    match sum.precision {
        Precision::Double => double,
        Precision::Single => single.into_iter().map(f64::from).collect(),
    }
}

/// Scores the rows in every form and precision and compares. The matrix is the middle of a larger
/// one.
fn check(trees: &[Tree], outputs: usize, rows: &[[f64; FEATURES]]) {
    let start = (0..outputs).map(|output| f64::from(0.3 * output as f32)).collect();
    let double = Sum { start, precision: Precision::Double, finish: Finish::Sum };
    check_sum(trees, &double, rows);
    let rounded = trees.iter().map(|tree| tree.clone().map_leaves(|leaf| f64::from(leaf as f32)));
    let single = Sum { precision: Precision::Single, ..double };
    check_sum(&rounded.collect::<Vec<_>>(), &single, rows);
}

fn check_sum(trees: &[Tree], sum: &Sum, rows: &[[f64; FEATURES]]) {
    let whole = Array2::from_shape_fn((rows.len() + 5, FEATURES).f(), |(row, feature)| {
        row.checked_sub(2).and_then(|row| rows.get(row)).map_or(f64::NAN, |row| row[feature])
    });
    let x = whole.slice(s![2..2 + rows.len(), ..]);
    let mut scratch = Scratch::default();
    let ensemble = ensemble(trees.to_vec(), sum);
    for forest in [Forest::of_nodes(ensemble.clone()), Forest::new(ensemble)] {
        let mut out = Array2::from_elem((rows.len(), sum.start.len()), f64::NAN);
        forest.predict_raw(x, &mut scratch, out.view_mut());
        for (number, (row, ours)) in rows.iter().zip(out.rows()).enumerate() {
            let bits = |sums: &[f64]| sums.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
            let theirs = sums(trees, sum, row);
            assert_eq!(bits(&ours.to_vec()), bits(&theirs), "row {number}: {ours} {theirs:?}");
        }
    }
}

fn rows(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<[f64; 4]>> {
    prop::collection::vec([value(), value(), value(), value()], count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn forms_agree(
        (outputs, trees) in (1_usize..4).prop_flat_map(|outputs| {
            (Just(outputs), prop::collection::vec(tree(40, outputs), 1..8))
        }),
        rows in rows(0..340),
    ) {
        check(&trees, outputs, &rows);
    }

    #[test]
    fn forms_agree_on_trees_beside_those_too_large_for_planes(
        large in tree(400, 2),
        trees in prop::collection::vec(tree(300, 2), 1..3),
        rows in rows(100),
    ) {
        check(&[vec![large], trees].concat(), 2, &rows);
    }
}

#[test]
fn a_feature_with_more_thresholds_than_a_byte_counts_has_several_columns() {
    let test = |threshold: usize, missing| Test::Number {
        threshold: threshold as f64,
        missing,
        zero_is_missing: false,
    };
    let tree = |first: usize| {
        let side = if first.is_multiple_of(2) { Side::Left } else { Side::Right };
        // A chain to the right: every threshold decides for some row.
        let growth = (0..200).map(|k| (0.999, 0, test(first + 5 * k, side)));
        grow(growth.collect(), first as u32, 0..1)
    };
    let trees: Vec<_> = (0..5).map(tree).collect();
    let rows: Vec<_> = (-2..1003).map(|v| [f64::from(v), 0.0, 0.0, 0.0]).collect();
    check(&trees, 1, &rows);
    check(&trees, 1, &[[f64::NAN; 4]; 9]);
}

#[test]
fn categories_beyond_a_short_table_are_told_apart() {
    // Sets of 1 to 12 words: enough of them that some tables are short and some are long.
    let test = |set: u32, missing| {
        let word = |place| (set + 1).wrapping_mul(0x9e37_79b9).rotate_left(place);
        let set = CategorySet::new((0..=set % 12).map(word).collect());
        Test::Category { set, missing, coding: Coding::Truncated }
    };
    let tree = |first: u32| {
        let side = if first.is_multiple_of(2) { Side::Left } else { Side::Right };
        let growth = (0..40).map(|k| (f64::from(k) / 40.0, 0, test(first + 5 * k, side)));
        grow(growth.collect(), first, 0..1)
    };
    let trees: Vec<_> = (0..5).map(tree).collect();
    let rows: Vec<_> = (-2..400).map(|v| [f64::from(v), 0.0, 0.0, 0.0]).collect();
    check(&trees, 1, &rows);
    check(&trees, 1, &[[f64::NAN; 4]; 9]);
}

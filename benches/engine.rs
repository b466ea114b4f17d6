//! The engine alone: a matrix to raw scores, on one core.
//!
//! `cargo bench --bench engine`. Items are rows: 5 Mitem/s are 200 ns a row. Planes against nodes
//! is what decides which form a tree takes: `LEAVES_MAX` by 100x255, `FEW` by the smallest batches.

use divan::Bencher;
use divan::counter::ItemsCount;
use foretell::model::Model::{self, Forest as ForestModel};
use foretell::model::Scratch;
use foretell::model::columns::{Column, ColumnKind};
use foretell::model::forest::tree::{Child, Side, Split, Test, Tree};
use foretell::model::forest::{Ensemble, Finish, Forest, Precision, Sum};
use foretell::model::link::Link;
use ndarray::{Array2, ShapeBuilder};

fn main() {
    divan::main();
}

const FEATURES: usize = 21;
/// As many as LightGBM's default of 255 bins gives.
const THRESHOLDS: usize = 254;
const BATCHES: [usize; 5] = [1, 4, 64, 1024, 8192];

#[divan::bench(args = BATCHES)]
fn planes_100x31(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, ForestModel(Forest::new(ensemble(100, 31)).into()), rows);
}

#[divan::bench(args = BATCHES)]
fn nodes_100x31(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, ForestModel(Forest::of_nodes(ensemble(100, 31)).into()), rows);
}

#[divan::bench(args = BATCHES)]
fn planes_500x63(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, ForestModel(Forest::new(ensemble(500, 63)).into()), rows);
}

#[divan::bench(args = BATCHES)]
fn nodes_500x63(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, ForestModel(Forest::of_nodes(ensemble(500, 63)).into()), rows);
}

#[divan::bench(args = BATCHES)]
fn planes_100x255(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, ForestModel(Forest::new(ensemble(100, 255)).into()), rows);
}

#[divan::bench(args = BATCHES)]
fn nodes_100x255(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, ForestModel(Forest::of_nodes(ensemble(100, 255)).into()), rows);
}

fn run(bencher: Bencher<'_, '_>, model: Model, rows: usize) {
    let mut random = Random(7);
    let x = Array2::from_shape_simple_fn((rows, FEATURES).f(), || random.value());
    let mut out = Array2::zeros((rows, model.outputs()));
    let mut scratch = Scratch::default();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| {
        model.predict_raw(x.view(), &mut scratch, out.view_mut());
    });
}

fn ensemble(trees: usize, leaves: usize) -> Ensemble {
    let mut random = Random(1);
    Ensemble {
        columns: (0..FEATURES)
            .map(|feature| Column::named(format!("f{feature}"), ColumnKind::Number))
            .collect(),
        trees: (0..trees).map(|_| tree(leaves, &mut random)).collect(),
        sum: Sum { start: vec![0.0], precision: Precision::Double, finish: Finish::Sum },
        link: Link::Identity,
    }
}

/// Grown as a trainer does, leaf by leaf: split k takes a leaf there is, keeps its number on the
/// left and makes leaf k + 1 on the right.
fn tree(leaves: usize, random: &mut Random) -> Tree {
    let mut splits: Vec<Split> = Vec::new();
    for split in 0..leaves - 1 {
        let leaf = Child::Leaf(random.below(split + 1));
        for above in &mut splits {
            for child in [&mut above.left, &mut above.right] {
                if *child == leaf {
                    *child = Child::Split(split);
                }
            }
        }
        let quantile = (random.below(THRESHOLDS) + 1) as f64 / (THRESHOLDS + 1) as f64;
        let test = Test::Number {
            threshold: quantile * 2.0 - 1.0,
            missing: if random.below(2) == 0 { Side::Left } else { Side::Right },
            zero_is_missing: false,
        };
        let feature = random.below(FEATURES);
        splits.push(Split { feature, test, left: leaf, right: Child::Leaf(split + 1) });
    }
    let values = (0..leaves).map(|_| random.value()).collect();
    Tree::new(splits, values, 0..1, FEATURES).expect("a tree")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// In -1 to 1; one in a hundred is missing.
    fn value(&mut self) -> f64 {
        let v = (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        if self.below(100) == 0 { f64::NAN } else { v }
    }
}

//! What an ensemble is made of, for people: nothing here is needed to score.

use std::collections::BTreeSet;

use super::tree::{Test, Tree};

/// An ensemble in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Census {
    pub trees: usize,
    pub leaves: usize,
    /// Splits on the longest way down a tree.
    pub depth: usize,
    /// In the order of the columns.
    pub columns: Vec<Use>,
}

/// How often, and to what end, trees ask for a column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Use {
    pub splits: usize,
    /// The sum over its splits, in the training library's own measure; `None` if a tree's file
    /// does not say.
    pub gain: Option<f64>,
    /// Distinct ones of its numeric splits.
    pub thresholds: usize,
    /// Its splits by category.
    pub sets: usize,
}

impl Census {
    /// Counts the trees of a model with `columns` columns.
    pub fn of(trees: &[Tree], columns: usize) -> Self {
        let known = trees.iter().all(|tree| tree.gains().len() == tree.splits().len());
        let blank = Use { gain: known.then_some(0.0), ..Use::default() };
        let mut uses = vec![blank; columns];
        let mut thresholds = vec![BTreeSet::new(); columns];
        for tree in trees {
            for (number, split) in tree.splits().iter().enumerate() {
                let column = &mut uses[split.feature];
                column.splits += 1;
                if let Some(gain) = &mut column.gain {
                    *gain += tree.gains()[number];
                }
                match &split.test {
                    // Zero has one place among the bits, not two.
                    Test::Number { threshold, .. } => {
                        thresholds[split.feature].insert((threshold + 0.0).to_bits());
                    }
                    Test::Category { .. } => column.sets += 1,
                }
            }
        }
        for (column, thresholds) in uses.iter_mut().zip(&thresholds) {
            column.thresholds = thresholds.len();
        }
        Self {
            trees: trees.len(),
            leaves: trees.iter().map(Tree::leaves).sum(),
            depth: trees.iter().map(Tree::depth).max().unwrap_or(0),
            columns: uses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{CategorySet, Child, Coding, Side, Split};
    use super::*;

    #[test]
    fn splits_gains_and_thresholds_are_counted_by_column() {
        let number =
            |threshold| Test::Number { threshold, missing: Side::Left, zero_is_missing: false };
        let set = CategorySet::new(vec![1]);
        let category = Test::Category { set, missing: Side::Right, coding: Coding::Truncated };
        let split = |feature, test, left, right| Split { feature, test, left, right };
        let splits = vec![
            split(0, number(0.0), Child::Split(1), Child::Split(2)),
            split(0, number(-0.0), Child::Leaf(0), Child::Leaf(1)),
            split(1, category, Child::Leaf(2), Child::Leaf(3)),
        ];
        let tree = Tree::new(splits, vec![0.0; 4], 0..1, 3).unwrap();
        let tree = tree.with_gains(vec![4.0, 2.0, 1.0]);
        let census = Census::of(&[tree.clone(), tree.clone()], 3);
        assert_eq!((census.trees, census.leaves, census.depth), (2, 8, 2));
        let numbers = Use { splits: 4, gain: Some(12.0), thresholds: 1, sets: 0 };
        let categories = Use { splits: 2, gain: Some(2.0), thresholds: 0, sets: 2 };
        assert_eq!(census.columns[..2], [numbers, categories]);
        // One tree whose file does not say makes the sum unknown.
        let silent = tree.with_gains(Vec::new());
        assert_eq!(Census::of(&[silent], 3).columns[0].gain, None);
    }
}

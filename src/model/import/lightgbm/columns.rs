//! Which column has which categories.
//!
//! `pandas_categorical` holds a list for each column that training was given as a category, in
//! column order, and does not name the columns. `feature_infos` marks those that a split uses by
//! their codes; what no split uses is `none`, whatever it was. So lists are laid over columns in
//! order, and a column has the list that every way of doing so gives it.

use crate::features::contract::Term;
use crate::model::columns::{Column, ColumnKind};

/// Cells of the table that layouts are found by. Where columns with categories are in the
/// thousands, the contract has to say which is which.
const CELLS_MAX: usize = 1 << 24;

/// What `feature_infos` says of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Info {
    Number,
    /// Categories, with the highest code that training saw.
    Codes(i64),
    Unused,
}

pub fn columns(names: Vec<String>, infos: &[Info], lists: &[Vec<Term>]) -> Vec<Column> {
    let unnamed =
        names.iter().enumerate().all(|(column, name)| *name == format!("Column_{column}"));
    // Codes without a list are those of `categorical_feature`, and few mix them with lists.
    let every_code_has_a_list = Layout { infos, lists, codes_need_lists: true }.choices();
    let choices = every_code_has_a_list
        .or_else(|| Layout { infos, lists, codes_need_lists: false }.choices())
        .unwrap_or_else(|| vec![vec![None]; infos.len()]);
    let columns = names.into_iter().zip(infos).zip(choices).map(|((name, info), choices)| {
        let kind = match (info, choices.as_slice()) {
            (Info::Number, _) => ColumnKind::Number,
            (_, [Some(list)]) => ColumnKind::Coded(lists[*list].clone()),
            (Info::Codes(_), _) => ColumnKind::Codes,
            (Info::Unused, _) => ColumnKind::Unused,
        };
        Column { name, named: !unnamed, kind }
    });
    columns.collect()
}

/// The ways to lay all lists over the columns, in order.
struct Layout<'a> {
    infos: &'a [Info],
    lists: &'a [Vec<Term>],
    codes_need_lists: bool,
}

impl Layout<'_> {
    /// For each column the lists that it has in some way, and `None` if in some it has none;
    /// nothing if there is no way at all.
    fn choices(&self) -> Option<Vec<Vec<Option<usize>>>> {
        let (columns, lists) = (self.infos.len(), self.lists.len());
        let able = self.infos.iter().filter(|info| **info != Info::Number).count();
        if lists > able || lists.saturating_mul(columns) > CELLS_MAX {
            return None;
        }
        // before[c][l]: the columns before c can have the lists before l; after: those from c, l on.
        let mut before = vec![vec![false; lists + 1]; columns + 1];
        let mut after = before.clone();
        before[0][0] = true;
        after[columns][lists] = true;
        for column in 0..columns {
            for list in 0..=lists {
                before[column + 1][list] = before[column][list] && self.may_have_none(column)
                    || list > 0 && before[column][list - 1] && self.may_have(column, list - 1);
            }
        }
        for column in (0..columns).rev() {
            for list in 0..=lists {
                after[column][list] = after[column + 1][list] && self.may_have_none(column)
                    || list < lists && after[column + 1][list + 1] && self.may_have(column, list);
            }
        }
        let choices = |column: usize| {
            let none = (0..=lists).any(|l| before[column][l] && after[column + 1][l]);
            let none = (none && self.may_have_none(column)).then_some(None);
            let some = (0..lists).filter(move |&l| self.may_have(column, l));
            let some = some.filter(|&l| before[column][l] && after[column + 1][l + 1]).map(Some);
            none.into_iter().chain(some).collect()
        };
        before[columns][lists].then(|| (0..columns).map(choices).collect())
    }

    fn may_have(&self, column: usize, list: usize) -> bool {
        match self.infos[column] {
            Info::Number => false,
            Info::Codes(highest) => highest < self.lists[list].len() as i64,
            Info::Unused => true,
        }
    }

    fn may_have_none(&self, column: usize) -> bool {
        !matches!(self.infos[column], Info::Codes(_)) || !self.codes_need_lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of each column's list, 0 where it is not known to have one.
    fn check(infos: &[Info], lists: &[usize], wanted: &[usize]) {
        let terms = |count: &usize| (0..*count).map(|term| Term::Number(term as f64)).collect();
        let lists: Vec<Vec<Term>> = lists.iter().map(terms).collect();
        let names = (0..infos.len()).map(|column| format!("f{column}")).collect();
        let found = columns(names, infos, &lists).into_iter().map(|column| match column.kind {
            ColumnKind::Coded(list) => list.len(),
            _ => 0,
        });
        assert_eq!(found.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_column_has_the_list_that_every_layout_gives_it() {
        use Info::{Codes, Number, Unused};
        check(&[Number, Codes(1), Codes(4)], &[2, 5], &[0, 2, 5]);
        check(&[Unused, Codes(4)], &[2, 5], &[2, 5]);
        check(&[Unused, Codes(4)], &[5], &[0, 5]);
        // Codes up to 4 rule the shorter list out.
        check(&[Codes(4), Unused, Unused], &[5, 2], &[5, 0, 0]);
        check(&[Unused, Codes(1), Unused, Codes(1)], &[2, 3, 4], &[0, 0, 0, 4]);
        // Integer columns named as `categorical_feature` have none.
        check(&[Codes(7), Codes(2)], &[3], &[0, 3]);
        check(&[Codes(7)], &[], &[0]);
        check(&[Number], &[3], &[0]);
        // Too many to be laid out: nobody allocates by the square of what a file lists.
        check(&[Unused; 5_000], &[1; 5_000], &[0; 5_000]);
    }
}

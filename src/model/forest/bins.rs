//! From values to bins: all that bit-planes compare is bytes.
//!
//! A number's *rank* among the sorted distinct thresholds of its input is the count of those
//! below it, so "v ≤ threshold k" is "rank ≤ k". It is searched once a row and input; columns of
//! bytes are derived from it. A rank of up to 255 is one byte, and 255 thresholds are what
//! LightGBM's default of 255 bins can give. More of them make several columns, each the rank less
//! 255 · c, held within 0 and 255: every split still is one comparison of one byte.
//!
//! NaN is given a rank too: one at which it goes to the side that each split says. Where splits
//! disagree so that no single rank will do, the input has two columns.
//!
//! Eight category sets share a byte, a bit each, and four such bytes are looked up together, so a
//! thousand splits over a hundred airports cost a row 32 look-ups.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use multiversion::multiversion;
use ndarray::ArrayView2;

use super::inputs::Input;
use super::search::Search;
use super::tree::{CategorySet, Side, Split, Test, contains};

/// Thresholds that one column can tell apart.
const COLUMN_THRESHOLDS: usize = 255;

/// The sets of a word, a bit each, and the columns that it becomes.
const WORD_SETS: usize = 32;
const WORD_COLUMNS: usize = WORD_SETS / 8;

/// A table of as many words is read without a check: no byte can be beyond it.
const SHORT: usize = 256;

/// Words of all tables: 64 MiB. One code far out makes its column's table as long; trees that ask
/// for such are walked.
const TABLE_WORDS_MAX: usize = 1 << 24;

/// How values become columns of bytes.
#[derive(Debug, Default)]
pub struct Bins {
    ladders: Vec<Ladder>,
    vocabularies: Vec<Vocabulary>,
    columns: usize,
}

/// What a split asks of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Bytes below `limit` go left.
    Below { column: usize, limit: i8 },
    /// Bytes with `bit` go left.
    With { column: usize, bit: u8 },
}

/// The thresholds of one numeric input.
#[derive(Debug)]
struct Ladder {
    input: Input,
    /// Rising, distinct.
    thresholds: Vec<f64>,
    search: Search,
    /// The rank of NaN for splits that send it left, and for those that send it right.
    missing: [usize; 2],
    /// Its columns stand together: all for missing left, then, where `missing` differs, all for
    /// missing right.
    first_column: usize,
}

/// The category sets of one input.
#[derive(Debug)]
struct Vocabulary {
    input: Input,
    /// Distinct, short ones first: so the tables of a word's sets are of a size.
    sets: Vec<Lefts>,
    /// For each four columns the word of NaN, then of each code, then as often as it takes to make
    /// [`SHORT`] of all codes beyond.
    tables: Vec<Vec<u32>>,
    first_column: usize,
}

/// What a split sends left: the categories of a set, and perhaps NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lefts {
    set: CategorySet,
    missing: Side,
}

impl Bins {
    /// `None` if the tables of category sets would take more than [`TABLE_WORDS_MAX`].
    pub fn of<'a>(splits: impl Iterator<Item = &'a Split>) -> Option<Self> {
        let mut numbers: BTreeMap<_, Vec<(f64, Side)>> = BTreeMap::new();
        let mut categories: BTreeMap<_, Vec<Lefts>> = BTreeMap::new();
        for split in splits {
            let input = Input::of(split);
            match &split.test {
                Test::Number { threshold, missing, .. } => {
                    let ladder = numbers.entry(input).or_default();
                    ladder.push((*threshold, *missing));
                }
                Test::Category { set, missing, .. } => {
                    let lefts = Lefts { set: set.clone(), missing: *missing };
                    categories.entry(input).or_default().push(lefts);
                }
            }
        }
        for sets in categories.values_mut() {
            sets.sort_unstable_by(|one, other| one.order(&other.set, other.missing));
            sets.dedup();
        }
        let chunks = categories.values().flat_map(|sets| sets.chunks(WORD_SETS));
        if chunks.map(|sets| codes(sets) + 2).sum::<usize>() > TABLE_WORDS_MAX {
            return None;
        }
        let mut columns = 0;
        let ladders = numbers.into_iter().map(|(input, cuts)| {
            let ladder = Ladder::new(input, cuts, columns);
            columns += ladder.columns();
            ladder
        });
        let ladders = ladders.collect();
        let vocabularies = categories.into_iter().map(|(input, sets)| {
            let vocabulary = Vocabulary::new(input, sets, columns);
            columns += vocabulary.columns();
            vocabulary
        });
        let vocabularies = vocabularies.collect();
        Some(Self { ladders, vocabularies, columns })
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        let ladders = self.ladders.iter().map(|ladder| {
            size_of_val(ladder) + size_of_val(ladder.thresholds.as_slice()) + ladder.search.bytes()
        });
        let vocabularies = self.vocabularies.iter().map(|vocabulary| {
            let sets = vocabulary.sets.iter().map(|lefts| size_of_val(lefts.set.words()));
            size_of_val(vocabulary)
                + vocabulary.tables.iter().map(|table| size_of_val(table.as_slice())).sum::<usize>()
                + sets.sum::<usize>()
        });
        ladders.sum::<usize>() + vocabularies.sum::<usize>()
    }

    /// What `split`, one of those these bins were made of, asks.
    pub fn cut(&self, split: &Split) -> Cut {
        let input = Input::of(split);
        match &split.test {
            Test::Number { threshold, missing, .. } => {
                let at = self.ladders.partition_point(|ladder| ladder.input < input);
                self.ladders[at].cut(*threshold, *missing)
            }
            Test::Category { set, missing, .. } => {
                let known = &self.vocabularies;
                let at = known.partition_point(|vocabulary| vocabulary.input < input);
                self.vocabularies[at].cut(set, *missing)
            }
        }
    }
}

impl Ladder {
    fn new(input: Input, cuts: Vec<(f64, Side)>, first_column: usize) -> Self {
        let mut thresholds: Vec<f64> = cuts.iter().map(|(threshold, _)| *threshold).collect();
        thresholds.sort_unstable_by(f64::total_cmp);
        // By ==, so that -0 and 0 are one.
        thresholds.dedup();
        let search = Search::new(&thresholds);
        let mut ladder = Self { input, thresholds, search, missing: [0, 0], first_column };
        ladder.missing = ladder.missing_ranks(&cuts);
        ladder
    }

    /// One rank for both sides if each threshold of a split that sends NaN right is below each of
    /// those that send it left: so it is where all agree, and where NaN stands for a number.
    fn missing_ranks(&self, cuts: &[(f64, Side)]) -> [usize; 2] {
        let ranks = |wanted| {
            cuts.iter().filter(move |(_, side)| *side == wanted).map(|(t, _)| self.rank(*t))
        };
        let above_right = ranks(Side::Right).max().map_or(0, |rank| rank + 1);
        let lowest_left = ranks(Side::Left).min().unwrap_or(self.thresholds.len());
        if above_right <= lowest_left { [above_right; 2] } else { [0, self.thresholds.len()] }
    }

    /// The number of thresholds below `v`.
    fn rank(&self, v: f64) -> usize {
        self.thresholds.partition_point(|threshold| *threshold < v)
    }

    fn columns_a_side(&self) -> usize {
        self.thresholds.len().div_ceil(COLUMN_THRESHOLDS)
    }

    /// The ranks of NaN for which there are columns.
    fn missing(&self) -> &[usize] {
        let sides = if self.missing[0] == self.missing[1] { 1 } else { 2 };
        &self.missing[..sides]
    }

    fn columns(&self) -> usize {
        self.columns_a_side() * self.missing().len()
    }

    fn cut(&self, threshold: f64, missing: Side) -> Cut {
        let rank = self.rank(threshold);
        let side = match missing {
            Side::Right if self.missing().len() == 2 => self.columns_a_side(),
            _ => 0,
        };
        let column = self.first_column + side + rank / COLUMN_THRESHOLDS;
        Cut::Below { column, limit: byte(rank % COLUMN_THRESHOLDS + 1) }
    }
}

impl Vocabulary {
    /// `sets` are in [`Lefts::order`], and distinct.
    fn new(input: Input, sets: Vec<Lefts>, first_column: usize) -> Self {
        let tables = sets.chunks(WORD_SETS).map(Self::table).collect();
        Self { input, sets, tables, first_column }
    }

    fn table(sets: &[Lefts]) -> Vec<u32> {
        let codes = codes(sets);
        let word = |goes_left: &dyn Fn(&Lefts) -> bool| {
            sets.iter().rev().fold(0, |word, lefts| word << 1 | u32::from(goes_left(lefts)))
        };
        let of_code = |code| word(&|lefts| contains(lefts.set.words(), code));
        let mut table = vec![word(&|lefts| lefts.missing == Side::Left)];
        table.extend((0..=codes as u32).map(of_code));
        table.resize(table.len().max(SHORT), of_code(codes as u32));
        table
    }

    fn columns(&self) -> usize {
        self.sets.len().div_ceil(8)
    }

    fn cut(&self, set: &CategorySet, missing: Side) -> Cut {
        let place = self.sets.partition_point(|known| known.order(set, missing).is_lt());
        Cut::With { column: self.first_column + place / 8, bit: 1 << (place % 8) }
    }
}

/// Codes that some of these sets may hold.
fn codes(sets: &[Lefts]) -> usize {
    32 * sets.iter().map(|lefts| lefts.set.words().len()).max().unwrap_or(0)
}

impl Lefts {
    fn order(&self, set: &CategorySet, missing: Side) -> Ordering {
        let (one, other) = (self.set.words(), set.words());
        let contents = || one.cmp(other).then((self.missing as u8).cmp(&(missing as u8)));
        one.len().cmp(&other.len()).then_with(contents)
    }
}

/// A bin in 0..=255 as the byte that columns hold: signed, because that is the comparison of
/// bytes that vector units have.
fn byte(bin: usize) -> i8 {
    (bin as u8 ^ 0x80) as i8
}

/// Fills the columns from up to `ROWS` rows of the matrix. `columns` are [`Bins::columns`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn fill<const ROWS: usize>(bins: &Bins, x: ArrayView2<'_, f64>, columns: &mut [[i8; ROWS]]) {
    let mut values = [0.0; ROWS];
    for ladder in &bins.ladders {
        ladder.input.read_column(x, &mut values);
        let mut ranks = [0; ROWS];
        ladder.search.ranks(&values, &mut ranks);
        let columns = &mut columns[ladder.first_column..][..ladder.columns()];
        fill_ladder(ladder, &values, &ranks, columns);
    }
    for vocabulary in &bins.vocabularies {
        vocabulary.input.read_column(x, &mut values);
        let columns = &mut columns[vocabulary.first_column..][..vocabulary.columns()];
        fill_vocabulary(vocabulary, &values, columns);
    }
}

/// The columns of one input from its rows' categories.
#[inline(always)]
fn fill_vocabulary<const ROWS: usize>(
    vocabulary: &Vocabulary,
    values: &[f64; ROWS],
    columns: &mut [[i8; ROWS]],
) {
    let place = |code: f64| if code.is_nan() { 0 } else { (code as u32).saturating_add(1) };
    let places = values.map(place);
    let short = places.map(|place| place.min(SHORT as u32 - 1) as u8);
    for (columns, table) in columns.chunks_mut(WORD_COLUMNS).zip(&vocabulary.tables) {
        let words = match <&[u32; SHORT]>::try_from(table.as_slice()) {
            Ok(table) => short.map(|place| table[usize::from(place)]),
            Err(_) => places.map(|place| table[(place as usize).min(table.len() - 1)]),
        };
        for (byte, column) in columns.iter_mut().enumerate() {
            for (slot, word) in column.iter_mut().zip(&words) {
                *slot = (word >> (8 * byte)) as i8;
            }
        }
    }
}

/// The columns of one input from its rows' ranks.
#[inline(always)]
fn fill_ladder<const ROWS: usize>(
    ladder: &Ladder,
    values: &[f64; ROWS],
    ranks: &[u32; ROWS],
    columns: &mut [[i8; ROWS]],
) {
    let sides = columns.chunks_mut(ladder.columns_a_side());
    for (columns, missing) in sides.zip(ladder.missing()) {
        let missing = *missing as u32;
        for (part, column) in columns.iter_mut().enumerate() {
            let below = (part * COLUMN_THRESHOLDS) as u32;
            for ((slot, v), rank) in column.iter_mut().zip(values).zip(ranks) {
                let rank = if v.is_nan() { missing } else { *rank };
                *slot = byte(rank.saturating_sub(below).min(255) as usize);
            }
        }
    }
}

//! The features: which column a split asks about, and which categories it means.
//!
//! CatBoost numbers float and categorical features apart, and all together by
//! `flat_feature_index`. Features that no tree uses may be absent from a file
//! (`drop_unused_features`): the columns are those that it has, in flat order.
//!
//! A category is known by the low 32 bits of the CityHash64, version 1.0, of its text. The matrix
//! holds its place in the contract's vocabulary instead, so the contract's terms are hashed here.

use std::collections::{HashMap, HashSet};

use ch_cityhash102::cityhash64;

use crate::features::contract::{Feature, Kind, Term};
use crate::model::columns::{Column, ColumnKind};
use crate::model::forest::tree::{CategorySet, Side};
use crate::model::import::ImportError;

use super::file::{CategoricalFeature, FeaturesInfo, HashedString, Name, NanValueTreatment};

/// What the model reads.
#[derive(Debug)]
pub struct Features {
    pub columns: Vec<Column>,
    /// By `float_feature_index`.
    floats: HashMap<usize, Float>,
    /// By `cat_feature_index`.
    categories: HashMap<usize, Categories>,
}

/// A float feature: its column, and where NaN goes.
#[derive(Debug, Clone, Copy)]
pub struct Float {
    pub column: usize,
    pub missing: Side,
}

/// A categorical feature.
#[derive(Debug)]
pub struct Categories {
    pub column: usize,
    /// Hashes that its splits may ask for.
    values: HashSet<i32>,
    /// Of each of the vocabulary's terms, by its place.
    hashes: Vec<i32>,
}

impl Features {
    /// `contract` is empty if there is none yet: categories then are nothing that a split knows.
    pub fn new(info: &FeaturesInfo, contract: &[Feature]) -> Result<Self, ImportError> {
        refuse_texts(info)?;
        let flat = flat_order(info)?;
        let strings = info.cat_features_hash.as_deref().unwrap_or_default();
        let mut columns = vec![None; flat.len()];
        let mut place = |index: usize, name: &Name, kind| {
            let (column, number) = (flat[&index], index.to_string());
            let name = name.get().unwrap_or(&number).to_owned();
            columns[column] = Some(Column { named: name != number, name, kind });
            column
        };
        let mut floats = HashMap::new();
        for feature in &info.float_features {
            let column = place(feature.flat_feature_index, &feature.name, ColumnKind::Number);
            let missing = match feature.nan_value_treatment {
                NanValueTreatment::Compared | NanValueTreatment::No => Side::Left,
                NanValueTreatment::Yes => Side::Right,
            };
            if floats.insert(feature.feature_index, Float { column, missing }).is_some() {
                return Err(twice("float_features", feature.feature_index));
            }
        }
        let mut categories = HashMap::new();
        for feature in &info.categorical_features {
            let kind = ColumnKind::Terms(terms(feature, strings));
            let column = place(feature.flat_feature_index, &feature.name, kind);
            let known = Categories::new(feature, column, contract)?;
            if categories.insert(feature.feature_index, known).is_some() {
                return Err(twice("categorical_features", feature.feature_index));
            }
        }
        Ok(Self { columns: columns.into_iter().flatten().collect(), floats, categories })
    }

    pub fn float(&self, index: usize) -> Option<Float> {
        self.floats.get(&index).copied()
    }

    pub fn categories(&self, index: usize) -> Option<&Categories> {
        self.categories.get(&index)
    }
}

/// The column of each `flat_feature_index`.
fn flat_order(info: &FeaturesInfo) -> Result<HashMap<usize, usize>, ImportError> {
    let floats = info.float_features.iter().map(|feature| feature.flat_feature_index);
    let categories = info.categorical_features.iter().map(|feature| feature.flat_feature_index);
    let mut flat: Vec<usize> = floats.chain(categories).collect();
    flat.sort_unstable();
    if let Some(pair) = flat.windows(2).find(|pair| pair[0] == pair[1]) {
        let what = format!("two features have `flat_feature_index` {}", pair[0]);
        return Err(ImportError::new(what));
    }
    Ok(flat.into_iter().zip(0..).collect())
}

fn refuse_texts(info: &FeaturesInfo) -> Result<(), ImportError> {
    let lists = [("text", &info.text_features), ("embedding", &info.embedding_features)];
    let used =
        |(_, list): &(_, &Option<Vec<_>>)| list.as_ref().is_some_and(|list| !list.is_empty());
    match lists.into_iter().find(used) {
        Some((kind, _)) => Err(ImportError::new(format!(
            "`{kind}_features`: {kind} features are not supported; make numbers of them before \
             training"
        ))),
        None => Ok(()),
    }
}

fn twice(list: &str, index: usize) -> ImportError {
    ImportError::new(format!("`{list}` holds `feature_index` {index} twice"))
}

/// The strings that splits ask a feature for. Any other counts as none of them, so a contract
/// does well without. A feature that no split asks about may hold whatever the file knows.
fn terms(feature: &CategoricalFeature, strings: &[HashedString]) -> Vec<Term> {
    let asked = |string: &&HashedString| {
        feature.values.is_empty() || feature.values.contains(&string.hash.cast_signed())
    };
    let mut terms: Vec<&str> =
        strings.iter().filter(asked).map(|string| string.value.as_str()).collect();
    terms.sort_unstable();
    terms.dedup();
    terms.into_iter().map(|term| Term::Text(term.to_owned())).collect()
}

impl Categories {
    fn new(
        feature: &CategoricalFeature,
        column: usize,
        contract: &[Feature],
    ) -> Result<Self, ImportError> {
        let values: HashSet<i32> = feature.values.iter().copied().collect();
        let hashes = match contract.get(column) {
            Some(told) if !values.is_empty() => hashes(told, column, &values)?,
            _ => Vec::new(),
        };
        Ok(Self { column, values, hashes })
    }

    /// The places in the vocabulary of terms that have this hash; `None` if the feature's splits
    /// have no business with it.
    pub fn set(&self, hash: i32) -> Option<CategorySet> {
        if !self.values.contains(&hash) {
            return None;
        }
        let mut words = Vec::new();
        for (code, _) in self.hashes.iter().enumerate().filter(|(_, known)| **known == hash) {
            words.resize(code / 32 + 1, 0);
            words[code / 32] |= 1 << (code % 32);
        }
        Some(CategorySet::new(words))
    }
}

/// The hashes of a contract's vocabulary. If the model asks for none of them, the vocabulary is
/// of something else.
fn hashes(told: &Feature, column: usize, values: &HashSet<i32>) -> Result<Vec<i32>, ImportError> {
    let name = &told.name;
    let Kind::Category { vocabulary, .. } = &told.kind else {
        let what = format!(
            "column {column} holds categories, of the contract `{name}` does not: it needs \
             `kind` `category` with a vocabulary"
        );
        return Err(ImportError::new(what));
    };
    let hashes = vocabulary.iter().map(|term| Ok(hash(&text(term, name)?)));
    let hashes: Vec<i32> = hashes.collect::<Result<_, ImportError>>()?;
    if hashes.iter().any(|hash| values.contains(hash)) {
        return Ok(hashes);
    }
    let count = values.len();
    let what = format!(
        "none of the vocabulary of `{name}` (column {column}) is one of the {count} categories \
         that the model asks for: these are other categories than those it was trained with"
    );
    Err(ImportError::new(what))
}

/// What CatBoost hashes for a category: the string, or the digits of a whole number.
fn text(term: &Term, name: &str) -> Result<String, ImportError> {
    match term {
        Term::Text(text) => Ok(text.clone()),
        // As far as i64 and f64 agree.
        Term::Number(number) if number.fract() == 0.0 && number.abs() <= 2_f64.powi(53) => {
            Ok(format!("{}", *number as i64))
        }
        Term::Number(_) | Term::Boolean(_) => {
            let what = format!(
                "the vocabulary of `{name}` holds {term}: CatBoost takes strings and whole numbers \
                 as categories, so train with and publish one of these"
            );
            Err(ImportError::new(what))
        }
    }
}

/// `CalcCatFeatureHash`: the low half of the hash, as a signed number.
pub fn hash(text: &str) -> i32 {
    (cityhash64(text.as_bytes()) as u32).cast_signed()
}

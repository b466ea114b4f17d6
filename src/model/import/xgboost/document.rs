//! The document that `save_model` writes, as JSON or as UBJSON: its fields, and nothing else.
//!
//! What changes a prediction is read; what only describes training is named, so that a field
//! which nobody here knows is noticed: ignoring one (`weight_drop` came to a new place in 3.4)
//! would make predictions silently wrong. Lists grow with what the file holds; what it declares
//! is checked against them later.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, Visitor};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub learner: Learner,
    #[serde(default, rename = "version")]
    _version: IgnoredAny,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learner {
    #[serde(default)]
    pub attributes: Attributes,
    #[serde(default)]
    pub feature_names: Vec<String>,
    #[serde(default)]
    pub feature_types: Vec<String>,
    pub gradient_booster: Booster,
    pub learner_model_param: Parameters,
    pub objective: Objective,
}

#[derive(Debug, Default, serde::Deserialize)]
pub struct Attributes {
    /// Set by early stopping; `Booster.predict` does not mind it, `XGBClassifier.predict` does.
    pub best_iteration: Option<InText<usize>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// `5E-1`, or from 3.x on `[4.7E-1,…]`.
    pub base_score: String,
    #[serde(default)]
    pub num_class: InText<usize>,
    pub num_feature: InText<usize>,
    #[serde(default)]
    pub num_target: InText<usize>,
    #[serde(default, rename = "boost_from_average")]
    _boost_from_average: IgnoredAny,
}

/// Its parameters belong to training.
#[derive(Debug, serde::Deserialize)]
pub struct Objective {
    pub name: String,
}

/// `gbtree` and `gblinear` have their model here, `dart` one level deeper, up to 3.2; later, dart
/// is a `gbtree` with weights.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Booster {
    pub name: String,
    pub model: Option<BoosterModel>,
    pub gbtree: Option<Inner>,
    pub weight_drop: Option<Vec<Single>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inner {
    pub model: BoosterModel,
    #[serde(default, rename = "name")]
    _name: IgnoredAny,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoosterModel {
    pub gbtree_model_param: Option<TreesParameters>,
    pub trees: Option<Vec<Nodes>>,
    /// The output of each tree.
    #[serde(default)]
    pub tree_info: Vec<Whole>,
    /// Where each iteration begins among the trees, and last their number; from 2.x on.
    pub iteration_indptr: Option<Vec<Whole>>,
    /// What the leaves of each tree are multiplied by.
    pub weight_drop: Option<Vec<Single>>,
    #[serde(default)]
    pub cats: Categories,
    /// Of `gblinear`: features × outputs, then the bias of each output.
    pub weights: Option<Vec<Single>>,
    #[serde(default, rename = "boosted_rounds")]
    _boosted_rounds: IgnoredAny,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreesParameters {
    pub num_trees: InText<usize>,
    #[serde(default)]
    pub num_parallel_tree: InText<usize>,
    #[serde(default, rename = "size_leaf_vector")]
    _size_leaf_vector: IgnoredAny,
}

/// One tree: lists with an element a node.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    pub tree_param: NodesParameters,
    pub left_children: Vec<Whole>,
    pub right_children: Vec<Whole>,
    pub split_indices: Vec<Whole>,
    /// Thresholds; a leaf's is its value.
    pub split_conditions: Vec<Single>,
    pub default_left: Vec<Whole>,
    /// 1 where a split is of categories.
    #[serde(default)]
    pub split_type: Vec<Whole>,
    #[serde(default)]
    pub categories: Vec<Whole>,
    #[serde(default)]
    pub categories_nodes: Vec<Whole>,
    #[serde(default)]
    pub categories_segments: Vec<Whole>,
    #[serde(default)]
    pub categories_sizes: Vec<Whole>,
    /// Leaves × outputs; a leaf's number stands in `right_children`. Files before 3.x hold the
    /// values of all nodes in `base_weights` instead.
    pub leaf_weights: Option<Vec<Single>>,
    #[serde(default)]
    pub base_weights: Vec<Single>,
    /// What each split gained.
    #[serde(default)]
    pub loss_changes: Vec<Single>,
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    #[serde(default, rename = "sum_hessian")]
    _sum_hessian: IgnoredAny,
    #[serde(default, rename = "parents")]
    _parents: IgnoredAny,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesParameters {
    pub num_nodes: InText<usize>,
    #[serde(default)]
    pub size_leaf_vector: InText<usize>,
    #[serde(default, rename = "num_feature")]
    _num_feature: IgnoredAny,
    #[serde(default, rename = "num_deleted")]
    _num_deleted: IgnoredAny,
}

/// The categories of a data frame's columns, from 3.1 on.
#[derive(Debug, Default, serde::Deserialize)]
pub struct Categories {
    #[serde(default)]
    pub enc: Vec<Encoding>,
}

/// A column's categories by code: strings end to end as UTF-8, cut at `offsets`, or numbers.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    pub offsets: Option<Vec<Whole>>,
    #[serde(default)]
    pub values: Vec<Double>,
    #[serde(default, rename = "type")]
    _type: IgnoredAny,
}

/// A number in quotes.
#[derive(Debug, Clone, Copy, Default)]
pub struct InText<T>(pub T);

/// A number of any type, rounded to f32.
#[derive(Debug, Clone, Copy)]
pub struct Single(pub f32);

/// A number of any type.
#[derive(Debug, Clone, Copy)]
pub struct Double(pub f64);

/// A whole number of any type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub i64);

impl<'de, T: FromStr> Deserialize<'de> for InText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr> Visitor<'_> for Text<T> {
            type Value = InText<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let shown = || text.chars().take(40).collect::<String>();
                text.parse()
                    .map(InText)
                    .map_err(|_| E::custom(format!("`{}` is no such number", shown())))
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Single {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Double::deserialize(deserializer).map(|Double(v)| Self(v as f32))
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Double;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, v: f64) -> Result<Double, E> {
                Ok(Double(v))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Double, E> {
                Ok(Double(v as f64))
            }

            fn visit_u64<E>(self, v: u64) -> Result<Double, E> {
                Ok(Double(v as f64))
            }

            /// JSON has no NaN; see [`text`](super::text).
            fn visit_unit<E>(self) -> Result<Double, E> {
                Ok(Double(f64::NAN))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E>(self, v: i64) -> Result<Whole, E> {
                Ok(Whole(v))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Whole, E> {
                i64::try_from(v).map(Whole).map_err(E::custom)
            }
        }

        deserializer.deserialize_i64(Number)
    }
}

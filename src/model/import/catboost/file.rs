//! The parts of the file that decide a prediction; all others are passed over.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct File {
    pub model_info: ModelInfo,
    pub features_info: FeaturesInfo,
    /// Symmetric trees: one split a level.
    pub oblivious_trees: Option<Vec<Oblivious>>,
    /// All other trees (`grow_policy` Depthwise and Lossguide).
    pub trees: Option<Vec<Node>>,
    /// What the sums are multiplied by, and what is added then, one an output.
    pub scale_and_bias: (f64, Vec<f64>),
}

#[derive(Debug, Deserialize)]
pub struct ModelInfo {
    pub params: Option<Params>,
    pub class_params: Option<ClassParams>,
}

#[derive(Debug, Deserialize)]
pub struct Params {
    pub loss_function: Loss,
}

#[derive(Debug, Deserialize)]
pub struct Loss {
    #[serde(rename = "type")]
    pub name: String,
}

/// Classes by number; a name is a string or a number.
#[derive(Debug, Deserialize)]
pub struct ClassParams {
    #[serde(default)]
    pub class_names: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub struct FeaturesInfo {
    #[serde(default)]
    pub float_features: Vec<FloatFeature>,
    #[serde(default)]
    pub categorical_features: Vec<CategoricalFeature>,
    pub text_features: Option<Vec<serde::de::IgnoredAny>>,
    pub embedding_features: Option<Vec<serde::de::IgnoredAny>>,
    /// Of all categorical columns together; null or absent where the model was saved without
    /// its training data (`pool`).
    pub cat_features_hash: Option<Vec<HashedString>>,
}

#[derive(Debug, Deserialize)]
pub struct FloatFeature {
    /// Its number among the float features.
    pub feature_index: usize,
    /// Its number among all features: the order of columns.
    pub flat_feature_index: usize,
    #[serde(flatten)]
    pub name: Name,
    pub nan_value_treatment: NanValueTreatment,
}

/// The name that the training data had, or failing that the number among all features as text.
#[derive(Debug, Deserialize)]
pub struct Name {
    /// Absent where the model was saved without its training data (`pool`).
    feature_name: Option<String>,
    feature_id: Option<String>,
}

impl Name {
    pub fn get(&self) -> Option<&str> {
        let names = [&self.feature_name, &self.feature_id];
        names.into_iter().flatten().map(String::as_str).find(|name| !name.is_empty())
    }
}

/// What a split says of NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum NanValueTreatment {
    /// It is compared, and is not greater than any border.
    #[serde(rename = "AsIs")]
    Compared,
    #[serde(rename = "AsFalse")]
    No,
    #[serde(rename = "AsTrue")]
    Yes,
}

#[derive(Debug, Deserialize)]
pub struct CategoricalFeature {
    /// Its number among the categorical features.
    pub feature_index: usize,
    /// Its number among all features: the order of columns.
    pub flat_feature_index: usize,
    #[serde(flatten)]
    pub name: Name,
    /// Hashes that one-hot splits ask for.
    #[serde(default)]
    pub values: Vec<i32>,
}

#[derive(Debug, Deserialize)]
pub struct HashedString {
    pub hash: u32,
    pub value: String,
}

#[derive(Debug, Deserialize)]
pub struct Oblivious {
    /// Bit d of a leaf's number is the answer of split d.
    pub splits: Vec<Split>,
    /// Leaves × outputs.
    pub leaf_values: Vec<f64>,
}

/// An inner node has `split`, `left` and `right`, a leaf `value`.
#[derive(Debug, Deserialize)]
pub struct Node {
    pub split: Option<Split>,
    /// Where the split's answer is no.
    pub left: Option<Box<Node>>,
    pub right: Option<Box<Node>>,
    pub value: Option<LeafValue>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum LeafValue {
    One(f64),
    EachOutput(Vec<f64>),
}

/// Which fields it has, its type says.
#[derive(Debug, Deserialize)]
pub struct Split {
    pub split_type: String,
    pub float_feature_index: Option<usize>,
    pub border: Option<f64>,
    pub cat_feature_index: Option<usize>,
    pub value: Option<i32>,
}

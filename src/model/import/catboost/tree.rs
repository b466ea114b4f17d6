//! One tree, brought into the neutral form.
//!
//! A split asks a yes-or-no question, and yes goes right: is a float greater than a border, both
//! rounded to f32; has a category this hash.

use crate::model::forest::single;
use crate::model::forest::tree::{Child, Coding, Side, Split, Test, Tree};
use crate::model::import::ImportError;

use super::features::Features;
use super::file;

/// CatBoost grows no deeper symmetric trees; a tree of d splits has 2^d leaves.
const OBLIVIOUS_DEPTH_MAX: usize = 16;

/// Makes a whole binary tree of a symmetric one: level d asks split d, and the path so far is
/// the low d bits of the number of each leaf below.
pub fn oblivious(
    tree: &file::Oblivious,
    features: &Features,
    outputs: usize,
) -> Result<Tree, ImportError> {
    let (depth, found) = (tree.splits.len(), tree.leaf_values.len());
    if depth > OBLIVIOUS_DEPTH_MAX {
        let what = format!("{depth} `splits`: a depth of more than {OBLIVIOUS_DEPTH_MAX}");
        return Err(ImportError::new(what));
    }
    let wanted = outputs << depth;
    if found != wanted {
        let what = format!(
            "`leaf_values` holds {found} numbers where {depth} splits and {outputs} outputs ask \
             for {wanted}"
        );
        return Err(ImportError::new(what));
    }
    let mut splits = Vec::with_capacity((1 << depth) - 1);
    for (level, split) in tree.splits.iter().enumerate() {
        let question = Question::read(split, level, features)?;
        let below = |path: usize| {
            if level + 1 == depth {
                Child::Leaf(path)
            } else {
                // The levels above the one below have 2^(level + 1) - 1 splits.
                Child::Split((1 << (level + 1)) - 1 + path)
            }
        };
        let ask = |path| question.split(below(path), below(path | 1 << level));
        splits.extend((0..1 << level).map(ask));
    }
    Tree::new(splits, tree.leaf_values.clone(), 0..outputs, features.columns.len())
        .map_err(|fault| ImportError::new(fault.to_string()))
}

/// Numbers the nodes and leaves of a nested tree as they are reached.
pub fn nested(root: &file::Node, features: &Features, outputs: usize) -> Result<Tree, ImportError> {
    let mut flat = Flat { splits: Vec::new(), leaves: Vec::new(), features, outputs };
    flat.add(root)?;
    let splits = flat.splits.into_iter().flatten().collect();
    Tree::new(splits, flat.leaves, 0..outputs, features.columns.len())
        .map_err(|fault| ImportError::new(fault.to_string()))
}

struct Flat<'a> {
    /// A place is taken before the children are known.
    splits: Vec<Option<Split>>,
    leaves: Vec<f64>,
    features: &'a Features,
    outputs: usize,
}

impl Flat<'_> {
    /// Recursion is as deep as the JSON is nested, which its reader bounds.
    fn add(&mut self, node: &file::Node) -> Result<Child, ImportError> {
        let place = self.splits.len();
        match node {
            file::Node {
                split: Some(split),
                left: Some(left),
                right: Some(right),
                value: None,
            } => {
                self.splits.push(None);
                let question = Question::read(split, place, self.features)?;
                let (no, yes) = (self.add(left)?, self.add(right)?);
                self.splits[place] = Some(question.split(no, yes));
                Ok(Child::Split(place))
            }
            file::Node { split: None, left: None, right: None, value: Some(value) } => {
                self.add_leaf(value)
            }
            _ => Err(ImportError::new(format!(
                "a node after split {place} has neither `split`, `left` and `right` alone, nor \
                 `value` alone"
            ))),
        }
    }

    fn add_leaf(&mut self, value: &file::LeafValue) -> Result<Child, ImportError> {
        let values = match value {
            file::LeafValue::One(value) => std::slice::from_ref(value),
            file::LeafValue::EachOutput(values) => values,
        };
        if values.len() != self.outputs {
            let (found, outputs) = (values.len(), self.outputs);
            let what = format!("a leaf's `value` holds {found} numbers for {outputs} outputs");
            return Err(ImportError::new(what));
        }
        let leaf = self.leaves.len() / self.outputs;
        self.leaves.extend_from_slice(values);
        Ok(Child::Leaf(leaf))
    }
}

/// What a split asks about a column.
struct Question {
    column: usize,
    test: Test,
}

impl Question {
    fn read(split: &file::Split, number: usize, features: &Features) -> Result<Self, ImportError> {
        let fault = |what: String| ImportError::new(format!("split {number}: {what}"));
        match split.split_type.as_str() {
            "FloatFeature" => Self::float(split, features).map_err(fault),
            "OneHotFeature" => Self::one_hot(split, features).map_err(fault),
            "OnlineCtr" => Err(fault(
                "`split_type` `OnlineCtr` (statistics of categories) is not supported; train with \
                 `one_hot_max_size` above the number of categories, or encode them yourself"
                    .into(),
            )),
            other => Err(fault(format!(
                "`split_type` `{other}` is not known (known: FloatFeature, OneHotFeature)"
            ))),
        }
    }

    fn float(split: &file::Split, features: &Features) -> Result<Self, String> {
        let index = split.float_feature_index.ok_or("no `float_feature_index`")?;
        let border = split.border.ok_or("no `border`")?;
        let feature = features
            .float(index)
            .ok_or_else(|| format!("`float_feature_index` {index} is not in `float_features`"))?;
        let single = border as f32;
        if !single.is_finite() {
            return Err(format!("`border` {border:e} is beyond f32"));
        }
        let test = Test::Number {
            threshold: single::up_to(single),
            missing: feature.missing,
            zero_is_missing: false,
        };
        Ok(Self { column: feature.column, test })
    }

    fn one_hot(split: &file::Split, features: &Features) -> Result<Self, String> {
        let index = split.cat_feature_index.ok_or("no `cat_feature_index`")?;
        let value = split.value.ok_or("no `value`")?;
        let feature = features.categories(index).ok_or_else(|| {
            format!("`cat_feature_index` {index} is not in `categorical_features`")
        })?;
        let set = feature.set(value).ok_or_else(|| {
            format!("`value` {value} is none of the `values` of categorical feature {index}")
        })?;
        let test = Test::Category { set, missing: Side::Right, coding: Coding::Truncated };
        Ok(Self { column: feature.column, test })
    }

    /// What passes a test goes left: a float that is not greater, but a category that is equal.
    fn split(&self, no: Child, yes: Child) -> Split {
        let (left, right) = match self.test {
            Test::Number { .. } => (no, yes),
            Test::Category { .. } => (yes, no),
        };
        Split { feature: self.column, test: self.test.clone(), left, right }
    }
}

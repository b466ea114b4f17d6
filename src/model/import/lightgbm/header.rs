//! The header: features, classes, and the objective that says what a score means.

use std::collections::HashSet;

use crate::model::import::ImportError;
use crate::model::link::Link;

use super::VERSIONS;
use super::columns::Info;
use super::section::{Field, Lines, Section};

const KEYS: [&str; 12] = [
    "tree",
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "average_output",
    "feature_names",
    "monotone_constraints",
    "feature_infos",
    "tree_sizes",
];

const REQUIRED: [&str; 4] =
    ["feature_names", "version", "num_tree_per_iteration", "max_feature_idx"];

#[derive(Debug)]
pub struct Header {
    pub names: Vec<String>,
    /// What `feature_infos` says of each column.
    pub infos: Vec<Info>,
    /// Tree t belongs to class t % this.
    pub trees_per_iteration: usize,
    /// Random forests: the output is transformed from the mean over iterations.
    pub average: bool,
    pub link: Link,
    /// Bytes of each tree block, and the line that says so.
    pub tree_sizes: Option<(Vec<usize>, usize)>,
}

impl Header {
    pub fn read(lines: &mut Lines<'_>) -> Result<Self, ImportError> {
        let section = Section::read(lines, &KEYS, &REQUIRED)?;
        check_version(section.field("version")?)?;
        let names = names(&section)?;
        let trees_per_iteration: usize = section.number("num_tree_per_iteration")?;
        if trees_per_iteration == 0 {
            let field = section.field("num_tree_per_iteration")?;
            return Err(field.error("num_tree_per_iteration=0: no class has a tree"));
        }
        let tree_sizes = match section.optional("tree_sizes") {
            Some(field) => {
                let sizes: Result<_, _> = field.words().map(|word| field.parse(word)).collect();
                Some((sizes?, field.line))
            }
            None => None,
        };
        Ok(Self {
            infos: infos(&section, names.len())?,
            names,
            trees_per_iteration,
            average: section.optional("average_output").is_some(),
            // Training with an objective of one's own leaves the line out.
            link: match section.optional("objective") {
                Some(field) => link(field, trees_per_iteration)?,
                None => Link::Identity,
            },
            tree_sizes,
        })
    }
}

fn check_version(field: Field<'_>) -> Result<(), ImportError> {
    if VERSIONS.contains(&field.value) {
        return Ok(());
    }
    let known = VERSIONS.join(", ");
    Err(field.error(format!("version={} is not known (known: {known})", field.value)))
}

/// LightGBM writes spaces within a name as `_`, so that single spaces part the names.
fn names(section: &Section<'_>) -> Result<Vec<String>, ImportError> {
    let field = section.field("feature_names")?;
    let last: usize = section.number("max_feature_idx")?;
    let names: Vec<&str> = field.value.split(' ').collect();
    if names.len() - 1 != last {
        let count = names.len();
        let what = format!("`feature_names` holds {count} names where max_feature_idx={last}");
        return Err(field.error(what));
    }
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(**name)) {
        return Err(field.error(format!("`feature_names` holds `{name}` twice")));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// `[lowest:highest]` is a number, `3:1:2` are categories, `none` was of no use in training.
fn infos(section: &Section<'_>, features: usize) -> Result<Vec<Info>, ImportError> {
    let Some(field) = section.optional("feature_infos") else {
        return Ok(vec![Info::Number; features]);
    };
    let count = field.words().count();
    if count != features {
        return Err(
            field.error(format!("`feature_infos` describes {count} of {features} features"))
        );
    }
    let info = |info: &str| {
        if info == "none" {
            return Ok(Info::Unused);
        }
        if info.starts_with('[') {
            return Ok(Info::Number);
        }
        let codes = info.split(':').map(|code| field.parse::<i64>(code));
        codes.collect::<Result<Vec<_>, _>>().map(|codes| {
            // -1 stands for what was missing.
            Info::Codes(codes.into_iter().max().unwrap_or(-1))
        })
    };
    field.words().map(info).collect()
}

/// The output transform of an objective, such as `binary sigmoid:1`.
fn link(field: Field<'_>, classes: usize) -> Result<Link, ImportError> {
    let mut words = field.words();
    let name = words.next().unwrap_or_default();
    let parameters: Vec<&str> = words.collect();
    Ok(match name {
        "binary" => Link::Sigmoid { scale: sigmoid(field, &parameters)? },
        "multiclassova" => {
            check_classes(field, &parameters, classes)?;
            Link::Sigmoid { scale: sigmoid(field, &parameters)? }
        }
        "multiclass" => {
            check_classes(field, &parameters, classes)?;
            Link::Softmax
        }
        "cross_entropy" => Link::Sigmoid { scale: 1.0 },
        "cross_entropy_lambda" => Link::Log1pExp,
        "poisson" | "gamma" | "tweedie" => Link::Exp,
        "regression" if parameters.contains(&"sqrt") => Link::SignedSquare,
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" | "lambdarank"
        | "rank_xendcg" => Link::Identity,
        _ => return Err(field.error(format!("unknown objective `{name}`"))),
    })
}

/// The value of `key:value` among an objective's parameters.
fn parameter<'a>(parameters: &[&'a str], key: &str) -> Option<&'a str> {
    parameters.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix(':'))
}

fn sigmoid(field: Field<'_>, parameters: &[&str]) -> Result<f64, ImportError> {
    let Some(word) = parameter(parameters, "sigmoid") else {
        return Err(field.error("`objective` does not give its sigmoid"));
    };
    let scale: f64 = field.parse(word)?;
    if scale > 0.0 && scale.is_finite() {
        return Ok(scale);
    }
    Err(field.error(format!("sigmoid:{word} must be above zero")))
}

fn check_classes(field: Field<'_>, parameters: &[&str], classes: usize) -> Result<(), ImportError> {
    if parameter(parameters, "num_class").is_some_and(|word| word.parse() == Ok(classes)) {
        return Ok(());
    }
    let what = format!("`{}` disagrees with num_tree_per_iteration={classes}", field.value);
    Err(field.error(what))
}

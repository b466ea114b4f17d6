//! Our own format of linear models: a JSON object, described by `schemas/linear.schema.json`.
//!
//! Other libraries have no file of their own for a linear model; these few numbers are what
//! scikit-learn's `coef_` and `intercept_` hold, or what anyone writes by hand.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImportError, Source, json, sniff};
use crate::model::columns::{Column, ColumnKind};
use crate::model::forest::Precision;
use crate::model::linear::Linear;
use crate::model::link;

pub const FORMAT: &str = "foretell-linear";
pub const VERSION: u32 = 1;

/// A linear model: output k is the link of `intercepts[k]` + Σ `coefficients[k][i]` · feature i.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearFile {
    /// `foretell-linear`.
    pub format: String,
    /// 1.
    pub version: u32,
    pub link: Link,
    /// Names, in the order of each list of coefficients.
    pub features: Vec<String>,
    /// A list an output, a number a feature.
    pub coefficients: Vec<Vec<f64>>,
    /// A number an output.
    pub intercepts: Vec<f64>,
}

/// What becomes of a row of sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Nothing: a regression.
    Identity,
    /// 1 / (1 + exp(-x)): the probability of class 1.
    Logistic,
    /// exp(x) over the sum of all outputs' exp(x): a probability a class.
    Softmax,
    /// exp(x): a Poisson, gamma or Tweedie regression.
    Exp,
}

/// Reads a whole model file.
pub(super) fn read(source: Source<'_>) -> Result<Linear, ImportError> {
    sniff::check_json(source.bytes, "a linear model")?;
    json::check_head(source.bytes, FORMAT, VERSION)?;
    if source.iterations.is_some() {
        return Err(ImportError::new("iterations were asked for, a linear model has none"));
    }
    let file: LinearFile = json::read(source.bytes)?;
    check(&file)?;
    let features = file.features.len();
    let by_feature = |feature| file.coefficients.iter().map(move |list: &Vec<f64>| list[feature]);
    let weights = (0..features).flat_map(by_feature).collect();
    let column = |name| Column::named(name, ColumnKind::Number);
    Ok(Linear::new(
        file.features.into_iter().map(column).collect(),
        weights,
        file.intercepts,
        Precision::Double,
        file.link.into(),
    ))
}

/// The numbers are finite: JSON has no others, and too large a literal is a fault of its own.
fn check(file: &LinearFile) -> Result<(), ImportError> {
    let LinearFile { features, coefficients, intercepts, .. } = file;
    check_names(features)?;
    if coefficients.is_empty() {
        return Err(ImportError::new("`coefficients` is empty: no output"));
    }
    let (outputs, count) = (coefficients.len(), features.len());
    if let Some(output) = coefficients.iter().position(|list| list.len() != count) {
        let found = coefficients[output].len();
        let what = format!("`coefficients[{output}]` holds {found} numbers for {count} features");
        return Err(ImportError::new(what));
    }
    if intercepts.len() != outputs {
        let found = intercepts.len();
        let what = format!("`intercepts` holds {found} numbers for {outputs} outputs");
        return Err(ImportError::new(what));
    }
    check_link(file.link, outputs)
}

/// There are some, and each once.
pub(super) fn check_names(features: &[String]) -> Result<(), ImportError> {
    if features.is_empty() {
        return Err(ImportError::new("`features` is empty"));
    }
    let mut seen = HashSet::new();
    match features.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(ImportError::new(format!("`features` holds `{name}` twice"))),
        None => Ok(()),
    }
}

/// Does the link make sense of so many outputs?
pub(super) fn check_link(link: Link, outputs: usize) -> Result<(), ImportError> {
    match (link, outputs) {
        (_, 0) => Err(ImportError::new("`start` is empty: no output")),
        (Link::Softmax, 1) => Err(ImportError::new(
            "`link` is `softmax` with one output, which would always be 1: use `logistic`",
        )),
        _ => Ok(()),
    }
}

impl From<Link> for link::Link {
    fn from(link: Link) -> Self {
        match link {
            Link::Identity => Self::Identity,
            Link::Logistic => Self::Sigmoid { scale: 1.0 },
            Link::Softmax => Self::Softmax,
            Link::Exp => Self::Exp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::model::manifest::{Format, Iterations};
    use ndarray::{Array2, array};

    const TWO: &str = r#"{"format":"foretell-linear","version":1,"link":"identity",
        "features":["a","b"],"coefficients":[[2,-3]],"intercepts":[0.5]}"#;

    fn outputs(text: &str, x: &Array2<f64>) -> Array2<f64> {
        let model = super::super::import(Source::new(Format::Linear, text.as_bytes())).unwrap();
        assert!(matches!(model, Model::Linear(_)));
        model.outputs_of(x)
    }

    fn check_close(found: &Array2<f64>, wanted: &Array2<f64>) {
        assert_eq!(found.dim(), wanted.dim());
        let close = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-15);
        assert!(close, "{found} is not {wanted}");
    }

    #[test]
    fn a_regression_by_hand() {
        let x = array![[1.0, 2.0], [0.0, 0.0], [10.0, -1.0]];
        assert_eq!(outputs(TWO, &x), array![[-3.5], [0.5], [23.5]]);
    }

    #[test]
    fn a_poisson_regression_by_hand() {
        let x = array![[0.75, 0.5]];
        check_close(&outputs(&TWO.replace("identity", "exp"), &x), &array![[0.5_f64.exp()]]);
    }

    #[test]
    fn a_logistic_regression_by_hand() {
        let x = array![[-0.25, 0.0], [0.0, 0.5]];
        // 1 / (1 + e)
        let wanted = array![[0.5], [0.268_941_421_369_995_1]];
        check_close(&outputs(&TWO.replace("identity", "logistic"), &x), &wanted);
    }

    #[test]
    fn a_multinomial_regression_by_hand() {
        let text = r#"{"format":"foretell-linear","version":1,"link":"softmax","features":["a"],
            "coefficients":[[1],[2],[4]],"intercepts":[1,0,-2]}"#;
        // At 1 the sums are 2, 2, 2; at 0 they are 1, 0, -2.
        let (e, one, third) = (1_f64.exp(), 1.0, (-2_f64).exp());
        let sum = e + one + third;
        let wanted = array![[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0], [e / sum, one / sum, third / sum]];
        check_close(&outputs(text, &array![[1.0], [0.0]]), &wanted);
    }

    #[test]
    fn what_is_doubtful_is_refused_and_the_message_says_where() {
        for (from, to, wanted) in [
            ("foretell-linear", "linear", "`format` is `linear`, not `foretell-linear`"),
            (r#""version":1"#, r#""version":2"#, "`version` 2 is not known (known: 1)"),
            (r#""version":1,"#, "", "missing field `version`"),
            ("identity", "probit", "`link`: unknown variant `probit`"),
            ("identity", "softmax", "`link` is `softmax` with one output"),
            (r#"["a","b"]"#, "[]", "`features` is empty"),
            (r#"["a","b"]"#, r#"["a","a"]"#, "`features` holds `a` twice"),
            ("[[2,-3]]", "[]", "`coefficients` is empty"),
            ("[2,-3]", "[2]", "`coefficients[0]` holds 1 numbers for 2 features"),
            ("[2,-3]", "[2,-3],[1,2,3]", "`coefficients[1]` holds 3 numbers for 2 features"),
            ("[0.5]", "[0.5,1]", "`intercepts` holds 2 numbers for 1 outputs"),
            ("[0.5]", "[1e400]", "number out of range"),
            (
                "[0.5]",
                "[NaN]",
                "`intercepts`: no valid JSON: expected value at line 2 column 68, near `NaN`",
            ),
            ("[0.5]", "[null]", "`intercepts[0]`: invalid type: null"),
            ("[0.5]", "[\"1\"]", "`intercepts[0]`: invalid type: string"),
            ("[0.5]}", "[0.5],\"classes\":2}", "unknown field `classes`"),
            ("[0.5]}", "[0.5", "truncated"),
            ("[0.5]}", "[0.5]}}", "after the end of the model: no valid JSON: trailing characters"),
            (TWO, " \n", "not a linear model: the file is empty"),
            (TWO, "coefficient a 2", "a JSON object expected, found 'coefficient a 2'"),
            (TWO, "\x1f\u{8b}", "a JSON object expected"),
            (TWO, "<!DOCTYPE html>", "it is an HTML page"),
        ] {
            assert!(TWO.contains(from), "{from}");
            let text = TWO.replace(from, to);
            let error = read(Source::new(Format::Linear, text.as_bytes())).unwrap_err().to_string();
            assert!(error.contains(wanted), "`{error}` does not say `{wanted}`");
        }
    }

    #[test]
    fn it_has_no_iterations() {
        let iterations = Some(Iterations { from: 0, to: 1 });
        let source = Source { iterations, ..Source::new(Format::Linear, TWO.as_bytes()) };
        let error = read(source).unwrap_err().to_string();
        assert_eq!(error, "iterations were asked for, a linear model has none");
    }
}

//! What a score means: the objective's transform, and the margin that `base_score` stands for.

use crate::model::import::ImportError;
use crate::model::link::Link;

/// An objective, as far as prediction goes.
#[derive(Debug, Clone, Copy)]
pub struct Objective {
    pub link: Link,
    base: Base,
}

/// The space that `base_score` is given in.
#[derive(Debug, Clone, Copy)]
enum Base {
    Margin,
    Probability,
    /// Its logarithm is the margin.
    Positive,
}

impl Objective {
    pub fn named(name: &str) -> Result<Self, ImportError> {
        let (link, base) = match name {
            "binary:logistic" | "reg:logistic" => (Link::Sigmoid { scale: 1.0 }, Base::Probability),
            // `multi:softmax` predicts the class alone; its probabilities are as well defined.
            "multi:softprob" | "multi:softmax" => (Link::Softmax, Base::Margin),
            "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => {
                (Link::Exp, Base::Positive)
            }
            "binary:hinge" => (Link::Step, Base::Margin),
            // Looks like a probability, and is taken as it is.
            "binary:logitraw" => (Link::Identity, Base::Margin),
            "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:pseudohubererror"
            | "reg:absoluteerror"
            | "reg:quantileerror"
            | "reg:expectileerror"
            | "rank:pairwise"
            | "rank:ndcg"
            | "rank:map" => (Link::Identity, Base::Margin),
            _ => {
                let what = format!(
                    "unknown objective `{}`: what its scores mean is not known here; a model \
                     trained with an objective of one's own can be saved with the built-in one \
                     whose transform it shares",
                    name.escape_debug()
                );
                return Err(ImportError::new(what));
            }
        };
        Ok(Self { link, base })
    }

    /// The margins that sums begin with, one an output: `base_score` is one number, or one for
    /// each of `outputs`.
    pub fn margins(self, base_score: &str, outputs: usize) -> Result<Vec<f64>, ImportError> {
        let text = base_score.trim();
        let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let margins: Vec<f64> = list
            .split(',')
            .map(|number| self.margin(number.trim()).map(f64::from))
            .collect::<Result<_, _>>()?;
        match margins.as_slice() {
            [one] => Ok(vec![*one; outputs]),
            all if all.len() == outputs => Ok(margins),
            all => {
                let count = all.len();
                Err(ImportError::new(format!(
                    "`base_score` holds {count} numbers for {outputs} outputs"
                )))
            }
        }
    }

    /// In f32, as XGBoost computes it (`ProbToMargin` in its `regression_loss.h`), save that the
    /// logarithm is rounded once.
    fn margin(self, text: &str) -> Result<f32, ImportError> {
        let refused = |why| ImportError::new(format!("`base_score` {} {why}", text.escape_debug()));
        let base: f32 = text.parse().map_err(|_| refused("is no number"))?;
        let ln = |v: f32| f64::from(v).ln() as f32;
        match self.base {
            _ if !base.is_finite() => Err(refused("is no number that f32 holds")),
            Base::Margin => Ok(base),
            Base::Probability if base > 0.0 && base < 1.0 => Ok(-ln(1.0 / base - 1.0)),
            Base::Probability => Err(refused("is no probability between 0 and 1")),
            Base::Positive if base > 0.0 => Ok(ln(base)),
            Base::Positive => Err(refused("must be above zero for this objective")),
        }
    }
}

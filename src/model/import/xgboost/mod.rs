//! XGBoost's JSON and UBJSON formats, as `Booster.save_model` writes them, versions 1.7 to 3.x.
//!
//! All of it is f32: values are rounded to f32, `v < split_condition` goes left, and leaves are
//! added in f32, from the margin of `base_score` on. A category of a node's set goes right.
//! XGBoost itself crashes on children out of range, hangs on cycles and allocates what a file
//! declares; what it does not check is checked here.

mod columns;
mod document;
mod objective;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod ubjson;

use crate::model::columns::Column;
use crate::model::forest::tree::Tree;
use crate::model::forest::{Ensemble, Finish, Precision, Sum};
use crate::model::linear::Linear;
use crate::model::manifest::Iterations;

use super::{Best, ImportError, Parsed, Source, chosen};
use document::{BoosterModel, Document, Learner, Nodes, Single, Whole};
use objective::Objective;
use tree::{SET_WORDS_MAX, Whereabouts};

/// As many outputs are believed of a file whatever it holds for them.
const OUTPUTS_ALWAYS: usize = 1024;

/// Reads a whole model file, and what early stopping left in it.
pub(super) fn read_with_best(source: Source<'_>) -> Result<(Parsed, Option<Best>), ImportError> {
    let document = text::document(source.bytes)?;
    let (learner, model) = (&document.learner, model(&document)?);
    let objective = Objective::named(&learner.objective.name)?;
    let columns = columns::columns(learner, &model.cats.enc)?;
    match (&model.trees, &model.weights) {
        (Some(trees), None) => {
            let forest = Forest { model, trees, learner };
            let trees = forest.read(columns.len(), source.iterations)?;
            let start = margins(learner, objective)?;
            let sum = Sum { start, precision: Precision::Single, finish: Finish::Sum };
            let ensemble = Ensemble { columns, trees, sum, link: objective.link };
            Ok((Parsed::Forest(ensemble), forest.best()?))
        }
        (None, Some(_)) if source.iterations.is_some() => {
            Err(ImportError::new("a gblinear model has no iterations to choose from"))
        }
        (None, Some(weights)) => {
            Ok((Parsed::Linear(linear(learner, columns, objective, weights)?), None))
        }
        _ => Err(ImportError::new("the booster holds neither `trees` nor `weights`, or both")),
    }
}

fn model(document: &Document) -> Result<&BoosterModel, ImportError> {
    let booster = &document.learner.gradient_booster;
    match (booster.name.as_str(), &booster.model, &booster.gbtree) {
        ("gbtree" | "gblinear", Some(model), None) => Ok(model),
        ("dart", None, Some(inner)) => Ok(&inner.model),
        ("gbtree" | "gblinear" | "dart", ..) => {
            Err(ImportError::new(format!("the booster `{}` has no model, or two", booster.name)))
        }
        (name, ..) => Err(ImportError::new(format!("unknown booster `{}`", name.escape_debug()))),
    }
}

/// Numbers a row: one a class, one a target, or one.
fn outputs(learner: &Learner) -> usize {
    let parameters = &learner.learner_model_param;
    parameters.num_class.0.max(parameters.num_target.0).max(1)
}

/// What each output's sum begins with. The number of outputs has been held against the model.
fn margins(learner: &Learner, objective: Objective) -> Result<Vec<f64>, ImportError> {
    objective.margins(&learner.learner_model_param.base_score, outputs(learner))
}

/// A booster of trees, gbtree or dart.
struct Forest<'a> {
    learner: &'a Learner,
    model: &'a BoosterModel,
    trees: &'a [Nodes],
}

impl Forest<'_> {
    /// The trees of the iterations that score.
    fn read(
        &self,
        features: usize,
        iterations: Option<Iterations>,
    ) -> Result<Vec<Tree>, ImportError> {
        self.check_outputs()?;
        let outputs = outputs(self.learner);
        let targets = self.targets(outputs)?;
        let weights = self.weights()?;
        let mut set_words = SET_WORDS_MAX;
        let read = |number: usize| {
            let weight = weights.map_or(1.0, |weights| weights[number].0);
            let at = Whereabouts { features, outputs, output: targets[number], weight };
            tree::read(&self.trees[number], at, &mut set_words)
                .map_err(|error| error.in_tree(number))
        };
        let mut trees: Vec<Tree> = (0..self.trees.len()).map(read).collect::<Result<_, _>>()?;
        let starts = self.starts(outputs)?;
        let iterations = chosen(iterations, starts.len() - 1)?;
        trees.truncate(starts[iterations.end]);
        trees.drain(..starts[iterations.start]);
        Ok(trees)
    }

    /// What early stopping says.
    fn best(&self) -> Result<Option<Best>, ImportError> {
        let Some(best) = self.learner.attributes.best_iteration else { return Ok(None) };
        let all = self.starts(outputs(self.learner))?.len() - 1;
        Ok(Some((best.0.saturating_add(1), all)))
    }

    /// So many outputs are to be held in memory: the file has to have something for them.
    fn check_outputs(&self) -> Result<(), ImportError> {
        let parameters = &self.learner.learner_model_param;
        let declared = self.model.gbtree_model_param.as_ref().map(|trees| trees.num_trees.0);
        let count = self.trees.len();
        if declared.is_some_and(|declared| declared != count) {
            let what = format!("`trees` holds {count}, num_trees={}", declared.unwrap_or_default());
            return Err(ImportError::new(what));
        }
        let (classes, targets) = (parameters.num_class.0, parameters.num_target.0);
        if outputs(self.learner) > count.max(OUTPUTS_ALWAYS) {
            let what = format!("num_class={classes} and num_target={targets} for {count} trees");
            return Err(ImportError::new(what));
        }
        Ok(())
    }

    /// The output that each tree adds to.
    fn targets(&self, outputs: usize) -> Result<Vec<usize>, ImportError> {
        let (info, count) = (&self.model.tree_info, self.trees.len());
        if info.len() != count {
            let what = format!("`tree_info` holds {} values for {count} trees", info.len());
            return Err(ImportError::new(what));
        }
        let target = |Whole(target): &Whole| {
            usize::try_from(*target).ok().filter(|target| *target < outputs).ok_or_else(|| {
                ImportError::new(format!("`tree_info` holds {target}, of {outputs} outputs"))
            })
        };
        info.iter().map(target).collect()
    }

    /// What dart multiplies each tree's leaves by.
    fn weights(&self) -> Result<Option<&[Single]>, ImportError> {
        let outer = self.learner.gradient_booster.weight_drop.as_deref();
        let weights = outer.or(self.model.weight_drop.as_deref());
        match weights {
            None if self.learner.gradient_booster.name == "dart" => {
                Err(ImportError::new("the booster `dart` has no `weight_drop`"))
            }
            Some(weights) if weights.len() != self.trees.len() => {
                let (found, trees) = (weights.len(), self.trees.len());
                let what = format!("`weight_drop` holds {found} values for {trees} trees");
                Err(ImportError::new(what))
            }
            _ => Ok(weights),
        }
    }

    /// The first tree of each iteration, and last the number of trees. Before 2.x files do not say:
    /// an iteration then has `num_parallel_tree` trees an output.
    fn starts(&self, outputs: usize) -> Result<Vec<usize>, ImportError> {
        let count = self.trees.len();
        if let Some(starts) = &self.model.iteration_indptr {
            let starts: Vec<usize> =
                starts.iter().map_while(|start| usize::try_from(start.0).ok()).collect();
            let ends = [starts.first(), starts.last()];
            if ends != [Some(&0), Some(&count)] || !starts.is_sorted() {
                let what = format!("`iteration_indptr` does not rise from 0 to the {count} trees");
                return Err(ImportError::new(what));
            }
            return Ok(starts);
        }
        let parallel = self.model.gbtree_model_param.as_ref();
        let parallel = parallel.map_or(1, |parameters| parameters.num_parallel_tree.0.max(1));
        let vectors = self.trees.first().is_some_and(|tree| tree.tree_param.size_leaf_vector.0 > 1);
        let step = parallel.saturating_mul(if vectors { 1 } else { outputs });
        if !count.is_multiple_of(step) {
            let what = format!("{count} trees are no whole number of iterations of {step} trees");
            return Err(ImportError::new(what));
        }
        Ok((0..=count).step_by(step).collect())
    }
}

fn linear(
    learner: &Learner,
    columns: Vec<Column>,
    objective: Objective,
    weights: &[Single],
) -> Result<Linear, ImportError> {
    let (features, outputs) = (columns.len(), outputs(learner));
    let expected = (features + 1).checked_mul(outputs);
    if expected != Some(weights.len()) {
        let found = weights.len();
        let what = format!(
            "`weights` holds {found} values where num_feature={features} and num_class={outputs} \
             ask for {} times {outputs}",
            features + 1
        );
        return Err(ImportError::new(what));
    }
    if let Some(weight) = weights.iter().find(|weight| !weight.0.is_finite()) {
        return Err(ImportError::new(format!("`weights` holds {}", weight.0)));
    }
    let (weights, biases) = weights.split_at(features * outputs);
    // XGBoost adds the first margin to every class.
    let margin = margins(learner, objective)?[0] as f32;
    let start = biases.iter().map(|bias| f64::from(bias.0 + margin)).collect();
    let weights = weights.iter().map(|weight| f64::from(weight.0)).collect();
    Ok(Linear::new(columns, weights, start, Precision::Single, objective.link))
}

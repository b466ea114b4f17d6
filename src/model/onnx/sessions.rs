//! Sessions: the runtime's form of a model, each used by one thread at a time.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue, SessionInputs,
};
use ort::value::{DynValue, TensorElementType};

/// A model's sessions, as many as ever ran at the same time.
///
/// A session runs one batch at a time, so that workers with one in common would wait for each other.
/// They are kept here and not in a worker's scratch because they go away with their model: a worker
/// keeps its scratch over all the versions that it serves. The lock is held to take a session and to
/// put it back, twice a batch. Each session has its own copy of the weights; a further worker's is
/// made in its first batch, which takes as long as loading the model.
pub struct Sessions {
    environment: Environment,
    /// The file, for the next session.
    bytes: Vec<u8>,
    /// Those outputs that are wanted of a run.
    outputs: Vec<String>,
    idle: Mutex<Vec<Ready>>,
}

impl Sessions {
    /// Makes the first session, which is how the runtime checks a model.
    pub fn new(
        environment: Environment,
        bytes: Vec<u8>,
        outputs: Vec<String>,
    ) -> Result<Self, ort::Error> {
        let sessions = Self { environment, bytes, outputs, idle: Mutex::default() };
        sessions.put_back(sessions.make()?);
        Ok(sessions)
    }

    /// Gives `work` a session that is nobody else's, made anew if all are taken.
    pub fn with<T>(
        &self,
        work: impl FnOnce(&mut Ready) -> Result<T, ort::Error>,
    ) -> Result<T, ort::Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut ready = match idle {
            Some(ready) => ready,
            None => self.make()?,
        };
        let done = work(&mut ready);
        self.put_back(ready);
        done
    }

    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    fn put_back(&self, ready: Ready) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(ready);
    }

    fn make(&self) -> Result<Ready, ort::Error> {
        let session = builder(&self.environment)?.commit_from_memory(&self.bytes)?;
        let wanted = self.outputs.iter().fold(OutputSelector::no_default(), OutputSelector::with);
        Ok(Ready { session, options: RunOptions::new()?.with_outputs(wanted) })
    }
}

/// A session works on the thread that calls it: workers are as many as the machine is to be used by.
fn builder(environment: &Environment) -> Result<SessionBuilder, ort::Error> {
    Ok(Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?)
}

/// A session, and which outputs it is asked for.
pub struct Ready {
    session: Session,
    options: RunOptions<HasSelectedOutputs>,
}

impl Ready {
    /// Runs the model. `inputs` are in the order of the graph, `numbers` are filled in that of the
    /// outputs asked for: an output's elements, its last dimension running fastest.
    pub fn run(
        &mut self,
        inputs: &[SessionInputValue<'_>],
        outputs: &[String],
        numbers: &mut Vec<Vec<f64>>,
    ) -> Result<(), ort::Error> {
        let inputs = SessionInputs::<0>::ValueSlice(inputs);
        let results = self.session.run_with_options(inputs, &self.options)?;
        numbers.resize_with(outputs.len(), Vec::new);
        for (name, numbers) in outputs.iter().zip(numbers) {
            let value = results
                .get(name)
                .ok_or_else(|| ort::Error::new(format!("there is no output `{name}`")))?;
            numbers.clear();
            read(value, numbers)?;
        }
        Ok(())
    }
}

fn read(value: &DynValue, into: &mut Vec<f64>) -> Result<(), ort::Error> {
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            into.extend(value.try_extract_tensor::<f32>()?.1.iter().map(|v| f64::from(*v)));
        }
        Some(TensorElementType::Float64) => {
            into.extend_from_slice(value.try_extract_tensor::<f64>()?.1);
        }
        Some(TensorElementType::Int64) => {
            into.extend(value.try_extract_tensor::<i64>()?.1.iter().map(|v| *v as f64));
        }
        Some(TensorElementType::Int32) => {
            into.extend(value.try_extract_tensor::<i32>()?.1.iter().map(|v| f64::from(*v)));
        }
        Some(TensorElementType::Bool) => {
            into.extend(value.try_extract_tensor::<bool>()?.1.iter().map(|v| f64::from(*v)));
        }
        other => return Err(ort::Error::new(format!("an output is of {other:?}, not of numbers"))),
    }
    Ok(())
}

/// The file's length: its bytes are megabytes.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions of {} bytes", self.bytes.len())
    }
}

//! Microsoft's ONNX Runtime, opened when the first ONNX model is imported and not before: a
//! program that serves none needs no such library.

use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::model::import::ImportError;
use crate::model::store::cache;

/// The version that the set-up step and the image bring, and what is tested with.
const TESTED: &str = "1.32.0";

/// Variables that name the library's file. The second is the `ort` crate's own.
const VARIABLES: [&str; 2] = ["FORETELL_ONNXRUNTIME", "ORT_DYLIB_PATH"];

/// One a process, says the runtime. It is never given back: other models may need it.
static OPENED: Mutex<Option<Environment>> = Mutex::new(None);

/// The runtime; opens the library if it is not open yet. After a failure the next call tries
/// again: the library may have been installed meanwhile.
pub fn open() -> Result<Environment, ImportError> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = opened.as_ref() {
        return Ok(environment.clone());
    }
    let environment = search(&candidates())?;
    *opened = Some(environment.clone());
    Ok(environment)
}

/// Opens the first of some files that is a runtime, new enough.
fn search(candidates: &[PathBuf]) -> Result<Environment, ImportError> {
    let mut tried = Vec::new();
    for path in candidates {
        // Asked for by name before anything else of `ort`: it panics where it has to look for itself.
        match ort::init_from(path) {
            Ok(builder) => {
                let environment = builder.with_name("foretell").with_telemetry(false).build();
                let environment = environment
                    .map_err(|error| ImportError::new(format!("the ONNX Runtime: {error}")))?;
                // Failures come back as errors; it would write each to stderr as well.
                environment.set_log_level(LogLevel::Fatal);
                return Ok(environment);
            }
            Err(error) => tried.push(format!("`{}`: {error}", path.display())),
        }
    }
    Err(ImportError::new(format!(
        "an ONNX model needs the library of ONNX Runtime 1.{} or newer, and none was found \
         ({})\n\nhint: `pip download --no-deps onnxruntime=={TESTED}`, unpack the wheel, and set {} to \
         the path of its onnxruntime/capi/libonnxruntime.so.{TESTED}",
        ort::MINOR_VERSION,
        tried.join("; "),
        VARIABLES[0]
    )))
}

/// Where the library may be. A file that was named is the only one: another would be a surprise.
fn candidates() -> Vec<PathBuf> {
    let set = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(named) = VARIABLES.iter().find_map(|variable| set(variable)) {
        return vec![named.into()];
    }
    let program = env::current_exe().ok();
    let beside = program.as_deref().and_then(|path| path.parent()?.parent());
    let beside = beside.map(|prefix| prefix.join("lib/libonnxruntime.so"));
    // Where `tests/onnxruntime.sh fetch` puts it.
    let cache =
        cache::home().map(|cache| cache.join(format!("onnxruntime-{TESTED}/libonnxruntime.so")));
    // The name alone: the loader's search path.
    let system = Some(PathBuf::from("libonnxruntime.so"));
    let is_there = |path: &PathBuf| path.components().count() == 1 || path.exists();
    [beside, cache, system].into_iter().flatten().filter(is_there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_tested_is_the_one_that_is_fetched() {
        let fetched = include_str!("../../../tests/onnxruntime.txt");
        assert!(fetched.contains(&format!("onnxruntime=={TESTED} ")), "{fetched}");
    }
}

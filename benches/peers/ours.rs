//! Our side of `make bench-engine`: a child process of `peers.py`, which measures itself.
//!
//! `peers MODEL MATRIX FEATURES`: MATRIX is f64 as they lie in memory, row-major. On each line of
//! its input it does one thing and answers with one line:
//!
//! - `load`: reads the model's file anew and imports it; CPU seconds
//! - `scores PATH`: writes the raw scores of all rows; their number
//! - `run BATCH CALLS`: as `time`, without asking a clock, which Valgrind's process has none of
//! - `time BATCH CALLS`: scores so many batches, one after another through the matrix; CPU ns a row

use std::fs;
use std::io::{self, BufRead, Write};

use anyhow::{Context, bail, ensure};
use foretell::model::import::{Source, import};
use foretell::model::manifest::Format;
use foretell::model::{Model, Scratch};
use ndarray::{Array2, ArrayView2, Axis, ShapeBuilder};
use rustix::time::{ClockId, clock_gettime};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(model), Some(matrix), Some(features)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        // `cargo bench` runs every bench; without a model there is nothing to do.
        println!("a child of benches/peers/peers.py: run `make bench-engine`");
        return Ok(());
    };
    let mut ours = Ours::new(model, &matrix, features.parse()?)?;
    for line in io::stdin().lock().lines() {
        println!("{}", ours.answer(&line?)?);
        io::stdout().flush()?;
    }
    Ok(())
}

struct Ours {
    path: String,
    model: Model,
    scratch: Scratch,
    /// Row-major, as in the file.
    x: Array2<f64>,
}

impl Ours {
    fn new(path: String, matrix: &str, features: usize) -> anyhow::Result<Self> {
        let bytes = fs::read(matrix).with_context(|| matrix.to_owned())?;
        let values = bytes.as_chunks().0.iter().map(|v| f64::from_le_bytes(*v)).collect();
        let x = Array2::from_shape_vec((bytes.len() / 8 / features, features), values)?;
        Ok(Self { model: load(&path)?, path, scratch: Scratch::default(), x })
    }

    fn answer(&mut self, line: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["load"] => {
                let start = cpu_nanos();
                self.model = load(&self.path)?;
                Ok(((cpu_nanos() - start) as f64 / 1e9).to_string())
            }
            ["scores", path] => {
                let mut scores = Array2::zeros((self.x.nrows(), self.model.outputs()));
                let x = column_major(self.x.view());
                self.model.predict_raw(x.view(), &mut self.scratch, scores.view_mut());
                let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
                fs::write(path, bytes).with_context(|| path.to_owned())?;
                Ok(scores.len().to_string())
            }
            ["run", rows, calls] => {
                self.run(&self.batches(rows.parse()?)?, calls.parse()?);
                Ok(calls.to_owned())
            }
            ["time", rows, calls] => {
                let (batches, calls) = (self.batches(rows.parse()?)?, calls.parse()?);
                let start = cpu_nanos();
                self.run(&batches, calls);
                let rows = batches[0].nrows() * calls;
                Ok(((cpu_nanos() - start) as f64 / rows as f64).to_string())
            }
            _ => bail!("not understood: {line}"),
        }
    }

    /// The matrix in batches, each a matrix of its own, as the decoder fills it: column-major.
    fn batches(&self, rows: usize) -> anyhow::Result<Vec<Array2<f64>>> {
        ensure!(0 < rows && rows <= self.x.nrows(), "{rows} rows are not there");
        let all = self.x.axis_chunks_iter(Axis(0), rows);
        Ok(all.filter(|batch| batch.nrows() == rows).map(column_major).collect())
    }

    fn run(&mut self, batches: &[Array2<f64>], calls: usize) {
        let mut out = Array2::zeros((batches[0].nrows(), self.model.outputs()));
        for x in batches.iter().cycle().take(calls) {
            self.model.predict_raw(x.view(), &mut self.scratch, out.view_mut());
        }
    }
}

/// What this process has had of the core: what others had of it meanwhile does not count.
fn cpu_nanos() -> i64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn load(path: &str) -> anyhow::Result<Model> {
    let bytes = fs::read(path).with_context(|| path.to_owned())?;
    Ok(import(Source::new(Format::Lightgbm, &bytes))?)
}

fn column_major(rows: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut x = Array2::zeros(rows.dim().f());
    x.assign(&rows);
    x
}

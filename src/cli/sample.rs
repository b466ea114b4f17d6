//! A sample of the events that a version was trained on, scored by the version itself: what its reference is made of.

use std::io::{self, BufRead};
use std::path::Path;

use ndarray::Array2;

use super::failure::Failure;
use super::lines;
use crate::model::reference::{ROWS_MIN, Reference};
use crate::model::version::Version;
use crate::score::Scorer;

/// Events that are scored at a time.
const TILE_ROWS: usize = 1024;
/// Numbers that are kept, of features and outputs: 128 MiB.
const CELLS_MAX: usize = 1 << 24;
/// More rows make no histogram better.
const ROWS_MAX: usize = 100_000;

/// Rows, evenly spread over all that came.
struct Sample {
    width: usize,
    rows_max: usize,
    /// Rows × width.
    cells: Vec<f64>,
    /// One in so many is kept.
    step: usize,
    seen: usize,
}

impl Sample {
    fn new(width: usize, rows_max: usize) -> Self {
        Self { width, rows_max, cells: Vec::new(), step: 1, seen: 0 }
    }

    /// Takes a row, or passes over it. Once there are too many, every other one is let go.
    fn push(&mut self, row: impl Iterator<Item = f64>) {
        if self.seen.is_multiple_of(self.step) {
            self.cells.extend(row);
        }
        self.seen += 1;
        if self.cells.len() == 2 * self.rows_max * self.width {
            for row in 0..self.rows_max {
                let from = 2 * row * self.width;
                self.cells.copy_within(from..from + self.width, row * self.width);
            }
            self.cells.truncate(self.rows_max * self.width);
            self.step *= 2;
        }
    }

    fn matrix(self) -> Array2<f64> {
        let rows = self.cells.len() / self.width.max(1);
        Array2::from_shape_vec((rows, self.width), self.cells).unwrap_or_default()
    }
}

/// What a file of events says of their distributions, and of that of the version's predictions. Events that the
/// version cannot score are left out, and told.
///
/// # Errors
/// The file cannot be read, or holds too few events.
pub fn reference(path: &Path, version: &Version) -> Result<Reference, Failure> {
    let cannot =
        |error: io::Error| Failure::data(format!("cannot read `{}`: {error}", path.display()));
    let mut lines = lines::open(path).map_err(cannot)?;
    let (features, outputs) = (version.contract.len(), version.engine.outputs());
    let width = features + outputs;
    let mut sample = Sample::new(width, ROWS_MAX.min((CELLS_MAX / width).max(ROWS_MIN)));
    let mut scorer = Scorer::new(TILE_ROWS);
    let mut rejected = 0_u64;
    loop {
        let tile = read(&mut lines).map_err(cannot)?;
        if tile.is_empty() {
            break;
        }
        let scores = scorer.score(version, tile.iter().map(Vec::as_slice));
        let matrix = scores.features();
        for event in 0..scores.len() {
            match (scores.row(event), scores.outputs(event)) {
                (Some(row), Ok(outputs)) => {
                    sample.push(matrix.row(row).iter().chain(outputs).copied());
                }
                _ => rejected += 1,
            }
        }
    }
    let seen = sample.seen;
    if seen < ROWS_MIN {
        return Err(Failure::data(format!(
            "`{}` has {seen} events that can be scored, and {rejected} others: a reference takes {ROWS_MIN}\n\nhint: \
             give the events that the model was trained on, or an even sample of them",
            path.display()
        )));
    }
    eprintln!("reference: {seen} events, {rejected} others that the version rejects");
    let matrix = sample.matrix();
    let (x, results) = matrix.view().split_at(ndarray::Axis(1), features);
    Ok(Reference::of(&version.contract, &version.task, &version.engine, x, results))
}

/// The next lines that are not blank; none: there are no more.
fn read(lines: &mut dyn BufRead) -> io::Result<Vec<Vec<u8>>> {
    let mut tile = Vec::new();
    while tile.len() < TILE_ROWS {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        line.truncate(line.trim_ascii_end().len());
        if !line.is_empty() {
            tile.push(line);
        }
    }
    Ok(tile)
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn however_many_rows_come_those_kept_are_spread_evenly() {
        for (came, kept) in [(0, 0), (7, 7), (8, 4), (9, 5), (1000, 4)] {
            let mut sample = Sample::new(2, 4);
            (0..came).for_each(|row| sample.push([f64::from(row), 0.5].into_iter()));
            let (step, matrix) = (sample.step, sample.matrix());
            assert_eq!(matrix.nrows(), kept, "of {came}");
            let expect = (0..kept).map(|row| (row * step) as f64);
            assert!(matrix.column(0).iter().copied().eq(expect), "{matrix}");
        }
    }
}

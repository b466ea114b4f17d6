//! Scoring: events in, one fate each out. The only scorer there is: `run`, `score`, `replay`, the
//! golden rows of the gate and HTTP all call it.
//!
//! It is a function: no IO, no clock, no threads. Its state is memory to be used again, so that in
//! steady state nothing is allocated.

use ndarray::{Array2, ArrayView2, ShapeBuilder, s};

use crate::features::decode::{Decoder, Span};
use crate::model::Scratch;
use crate::model::version::Version;
use crate::reject::{Reason, Reject};

/// Rows that the matrix is higher than a tile. An event writes one cell of each column; were columns
/// a power of two apart, all of them would compete for one set of the L1 cache (measured: 5 % of
/// decoding).
const PADDING: usize = 8;

/// Buffers of one thread that scores.
#[derive(Debug)]
pub struct Scorer {
    rows_max: usize,
    /// (`rows_max` + padding) × features, column-major: a feature is contiguous. NaN is missing.
    matrix: Array2<f64>,
    /// Rows of the matrix that hold an event.
    rows: usize,
    /// `rows_max` × outputs, row-major.
    outputs: Array2<f64>,
    fates: Vec<Fate>,
    /// Captures of each event, in the order of the decoder.
    spans: Vec<Option<Span>>,
    /// Captures an event.
    captures: usize,
    scratch: Scratch,
}

/// What became of one event.
#[derive(Debug)]
enum Fate {
    /// Row of the matrix and of the outputs.
    Scored(usize),
    /// The same, but not all of its outputs are numbers.
    NonFinite(usize, Reject),
    /// It never came to have a row.
    Rejected(Reject),
}

impl Scorer {
    /// A scorer of up to `rows_max` events at a time.
    pub fn new(rows_max: usize) -> Self {
        Self {
            rows_max,
            matrix: Array2::zeros((0, 0)),
            rows: 0,
            outputs: Array2::zeros((0, 0)),
            fates: Vec::with_capacity(rows_max),
            spans: Vec::new(),
            captures: 0,
            scratch: Scratch::default(),
        }
    }

    /// Decodes and scores events, in their order.
    ///
    /// # Panics
    /// With more than `rows_max` events.
    pub fn score<'s, 'e>(
        &'s mut self,
        version: &Version,
        events: impl ExactSizeIterator<Item = &'e [u8]>,
    ) -> Scores<'s> {
        self.decode(version, events);
        self.predict(version)
    }

    /// The first half of [`Self::score`]: events become rows of the matrix.
    ///
    /// # Panics
    /// With more than `rows_max` events.
    pub fn decode<'e>(
        &mut self,
        version: &Version,
        events: impl ExactSizeIterator<Item = &'e [u8]>,
    ) {
        self.decode_by(&version.decoder, version, events);
    }

    /// The same for events of another form, which `decoder` turns into the very columns of the version.
    ///
    /// # Panics
    /// With more than `rows_max` events.
    pub fn decode_by<'e>(
        &mut self,
        decoder: &Decoder,
        version: &Version,
        events: impl ExactSizeIterator<Item = &'e [u8]>,
    ) {
        let (count, rows_max) = (events.len(), self.rows_max);
        assert!(count <= rows_max, "{count} events, {rows_max} at most");
        let captures = decoder.captures();
        self.captures = captures;
        self.fit(version, count * captures);
        self.rows = 0;
        for (event, bytes) in events.enumerate() {
            let spans = &mut self.spans[event * captures..(event + 1) * captures];
            match decoder.decode(bytes, self.matrix.row_mut(self.rows), spans) {
                Ok(()) => {
                    self.fates.push(Fate::Scored(self.rows));
                    self.rows += 1;
                }
                Err(reject) => self.fates.push(Fate::Rejected(reject)),
            }
        }
    }

    /// The second half: what was decoded with `version` is scored by it.
    pub fn predict(&mut self, version: &Version) -> Scores<'_> {
        if self.rows > 0 {
            version.engine.predict(
                self.matrix.slice(s![..self.rows, ..]),
                &mut self.scratch,
                self.outputs.slice_mut(s![..self.rows, ..]),
            );
        }
        self.refuse_non_finite();
        self.scores()
    }

    /// What was scored last, once more.
    pub fn scores(&self) -> Scores<'_> {
        Scores {
            matrix: self.matrix.slice(s![..self.rows, ..]),
            outputs: self.outputs.view(),
            fates: &self.fates,
            spans: &self.spans,
            captures: self.captures,
        }
    }

    /// Scores what another scorer has decoded, with a version that [reads alike]: the same matrix,
    /// no second decoding.
    ///
    /// [reads alike]: Version::reads_like
    pub fn predict_again<'s>(&'s mut self, version: &Version, first: &Scores<'s>) -> Scores<'s> {
        self.fit_outputs(version);
        let rows = first.matrix.nrows();
        if rows > 0 {
            let outputs = self.outputs.slice_mut(s![..rows, ..]);
            version.engine.predict(first.matrix, &mut self.scratch, outputs);
        }
        self.fates.clear();
        self.fates.extend(first.fates.iter().map(|fate| match fate {
            Fate::Scored(row) | Fate::NonFinite(row, _) => Fate::Scored(*row),
            Fate::Rejected(reject) => Fate::Rejected(reject.clone()),
        }));
        self.refuse_non_finite();
        Scores { outputs: self.outputs.view(), fates: &self.fates, ..*first }
    }

    /// Gives the buffers the shape of this version; a new version may have another.
    fn fit(&mut self, version: &Version, spans: usize) {
        let features = version.decoder.features().len();
        let height = self.rows_max + PADDING;
        if self.matrix.dim() != (height, features) {
            self.matrix = Array2::zeros((height, features).f());
        }
        self.fit_outputs(version);
        self.fates.clear();
        self.spans.clear();
        self.spans.resize(spans, None);
    }

    fn fit_outputs(&mut self, version: &Version) {
        let outputs = version.engine.outputs();
        if self.outputs.dim() != (self.rows_max, outputs) {
            self.outputs = Array2::zeros((self.rows_max, outputs));
        }
    }

    fn refuse_non_finite(&mut self) {
        for fate in &mut self.fates {
            if let Fate::Scored(row) = *fate {
                let outputs = self.outputs.row(row);
                if let Some(number) = outputs.iter().find(|number| !number.is_finite()) {
                    let message = format!("the model's result is {number}");
                    *fate = Fate::NonFinite(row, Reject::new(Reason::NonFinite, message));
                }
            }
        }
    }
}

/// The fates of a scorer's last events, in their order.
#[derive(Debug)]
pub struct Scores<'a> {
    /// The rows of the events that could be decoded × features.
    matrix: ArrayView2<'a, f64>,
    outputs: ArrayView2<'a, f64>,
    fates: &'a [Fate],
    spans: &'a [Option<Span>],
    captures: usize,
}

impl<'a> Scores<'a> {
    pub fn len(&self) -> usize {
        self.fates.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fates.is_empty()
    }

    /// The rows of the events that could be decoded × features, in the contract's order; NaN is
    /// missing.
    pub fn features(&self) -> ArrayView2<'a, f64> {
        self.matrix
    }

    /// What the model says of each row of [`Self::features`] × outputs; what is no number included.
    pub fn results(&self) -> ArrayView2<'_, f64> {
        self.outputs.slice(s![..self.matrix.nrows(), ..])
    }

    /// The row of [`Self::features`] that an event has, if it could be decoded.
    pub fn row(&self, event: usize) -> Option<usize> {
        match self.fates[event] {
            Fate::Scored(row) | Fate::NonFinite(row, _) => Some(row),
            Fate::Rejected(_) => None,
        }
    }

    /// The model's outputs for an event, or why there are none.
    pub fn outputs(&self, event: usize) -> Result<&[f64], &'a Reject> {
        match &self.fates[event] {
            Fate::Scored(row) => {
                let width = self.outputs.ncols();
                let all = self.outputs.as_slice().unwrap_or_default();
                Ok(&all[row * width..(row + 1) * width])
            }
            Fate::NonFinite(_, reject) | Fate::Rejected(reject) => Err(reject),
        }
    }

    /// Where the captured fields of an event stand in its bytes.
    pub fn spans(&self, event: usize) -> &'a [Option<Span>] {
        &self.spans[event * self.captures..(event + 1) * self.captures]
    }
}

//! What `foretell model inspect` shows of the model itself: its trees, and what they cost here.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use ndarray::{Array2, ShapeBuilder};
use serde_json::{Value, json};

use super::failure::Failure;
use crate::app;
use crate::model::bundle::Bundle;
use crate::model::columns::Column;
use crate::model::forest::census::{Census, Use};
use crate::model::gate::{self, Times};
use crate::model::import::{Parsed, parse};
use crate::model::version::Version;
use crate::model::{Model, Scratch};

/// Rows scored at a time to measure speed, and cells of their matrix.
const ROWS: usize = 8192;
const CELLS: usize = 1 << 22;

/// How long speed is measured.
const MEASURED: Duration = Duration::from_millis(250);

pub struct Anatomy {
    columns: Vec<Column>,
    /// Of a model of trees.
    trees: Option<Trees>,
    load: Duration,
    /// Of one core, from the matrix to outputs.
    rows_per_second: f64,
}

struct Trees {
    census: Census,
    planes: usize,
    bytes: usize,
}

impl Anatomy {
    pub fn of(bundle: &Bundle) -> Result<Self, Failure> {
        let began = Instant::now();
        let version =
            gate::assemble(bundle, &app::gate_settings_for_tools(), &mut Times::default())?;
        let load = began.elapsed();
        let trees = match &version.engine {
            Model::Forest(forest) => {
                let census = census(bundle)?;
                census.map(|census| Trees {
                    census,
                    planes: forest.planes(),
                    bytes: forest.bytes(),
                })
            }
            _ => None,
        };
        Ok(Self {
            columns: version.engine.columns().to_vec(),
            trees,
            load,
            rows_per_second: rows_per_second(&version, bundle),
        })
    }

    pub fn json(&self) -> Value {
        let mut told = json!({
            "load_ms": self.load.as_secs_f64() * 1e3, "rows_per_second": self.rows_per_second,
        });
        if let Some(Trees { census, planes, bytes }) = &self.trees {
            let uses = self.columns.iter().zip(&census.columns).map(|(column, used)| {
                json!({
                    "name": column.name, "splits": used.splits, "gain": used.gain,
                    "thresholds": used.thresholds, "category_splits": used.sets,
                })
            });
            told["trees"] = json!({
                "trees": census.trees, "leaves": census.leaves, "depth": census.depth,
                "as_planes": planes, "as_nodes": census.trees - planes, "bytes": bytes,
                "features": uses.collect::<Vec<_>>(),
            });
        }
        told
    }

    /// Lines of a table of facts.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let Some(Trees { census, planes, bytes }) = &self.trees {
            let Census { trees, leaves, depth, .. } = census;
            facts.push(("trees", format!("{trees}, {leaves} leaves, up to {depth} deep")));
            let nodes = trees - planes;
            facts.push(("engine", format!("{planes} trees as bit-planes, {nodes} as nodes")));
            facts.push(("memory", format!("{:.1} kB", *bytes as f64 / 1e3)));
        }
        facts.push(("load", format!("{:.1} ms", self.load.as_secs_f64() * 1e3)));
        let millions = self.rows_per_second / 1e6;
        let speed = format!("{millions:.2} million rows/s on one core of this machine");
        facts.push(("speed", speed));
        facts
    }

    /// What trees ask each feature for, the most useful first.
    pub fn uses(&self) -> Option<Table> {
        let census = &self.trees.as_ref()?.census;
        let mut uses: Vec<_> = self.columns.iter().zip(&census.columns).collect();
        uses.sort_by(|(_, one), (_, other)| {
            let gain = |used: &Use| used.gain.filter(|gain| !gain.is_nan()).unwrap_or(f64::MIN);
            gain(other).total_cmp(&gain(one)).then(other.splits.cmp(&one.splits))
        });
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["feature", "splits", "gain", "thresholds", "by category"]);
        for (column, used) in uses {
            table.add_row([
                column.name.clone(),
                used.splits.to_string(),
                used.gain.map_or_else(|| "unknown".into(), |gain| format!("{gain:.1}")),
                used.thresholds.to_string(),
                used.sets.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Some(table)
    }
}

/// The trees before the engine's forms are made of them.
fn census(bundle: &Bundle) -> Result<Option<Census>, Failure> {
    match parse(bundle.source()).map_err(|error| Failure::data(error.to_string()))? {
        Parsed::Forest(ensemble) => Ok(Some(Census::of(&ensemble.trees, ensemble.columns.len()))),
        _ => Ok(None),
    }
}

/// The golden rows over and over, as a matrix.
fn rows_per_second(version: &Version, bundle: &Bundle) -> f64 {
    let columns = version.engine.columns().len();
    let height = ROWS.min(CELLS / columns.max(1)).max(1);
    let mut x = Array2::zeros((height, columns).f());
    let mut spans = vec![None; version.decoder.captures()];
    for (row, golden) in x.rows_mut().into_iter().zip(bundle.golden.iter().cycle()) {
        // A row that is rejected is told by the gate; here its numbers are as good as any.
        let _ = version.decoder.decode(golden.event.get().as_bytes(), row, &mut spans);
    }
    let mut out = Array2::zeros((height, version.engine.outputs()));
    let mut scratch = Scratch::default();
    version.engine.predict(x.view(), &mut scratch, out.view_mut());
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < MEASURED {
        version.engine.predict(x.view(), &mut scratch, out.view_mut());
        rows += height;
    }
    rows as f64 / began.elapsed().as_secs_f64()
}

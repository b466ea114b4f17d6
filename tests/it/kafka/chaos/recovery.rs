//! How long each fault was felt downstream, and the table of it.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::fault::Fault;

/// What a fault cost those who read the predictions.
pub struct Recovery {
    /// `None`: several at once.
    pub fault: Option<Fault>,
    /// The longest time without a prediction on a partition that it affected; `None`: it affected none.
    pub silence: Option<Duration>,
}

/// By kind of fault: how many, half of them at most so long, all of them at most so long.
pub struct Summary<'a>(pub &'a [Recovery]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["fault", "times", "felt", "p50 s", "max s"]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for fault in Fault::ALL.into_iter().map(Some).chain([None]) {
            let of = self.0.iter().filter(|recovery| recovery.fault == fault);
            let times = of.clone().count();
            let mut silences: Vec<_> = of.filter_map(|recovery| recovery.silence).collect();
            silences.sort_unstable();
            if times == 0 {
                continue;
            }
            let shown = |silence: Option<&Duration>| {
                silence.map_or("–".to_owned(), |silence| format!("{:.1}", silence.as_secs_f64()))
            };
            table.add_row([
                fault.map_or("two at once", Fault::name).to_owned(),
                times.to_string(),
                silences.len().to_string(),
                shown(silences.get(silences.len().saturating_sub(1) / 2)),
                shown(silences.last()),
            ]);
        }
        write!(f, "{table}")
    }
}

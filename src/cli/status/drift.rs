//! `foretell status --drift`: how far the fleet's events are from those of the training.

use comfy_table::{CellAlignment, Table};
use indicatif::HumanCount;

use crate::cli::columns;
use crate::compare::percent;
use crate::observe::drift::{Shift, Tally};
use crate::observe::fleet::FleetDrift;

/// From here on something has moved, and much: the rule of thumb of `model/psi.rs`.
const SOME: f64 = 0.1;
const MUCH: f64 = 0.25;

/// A line that says of what, and a table of features and outputs.
pub fn page(drift: Option<&FleetDrift>) -> String {
    let Some(drift) = drift else {
        return "drift: no instance knows what the events were like in training; `foretell model pack --reference` tells them".into();
    };
    let FleetDrift { version, instances, without, events, since, .. } = drift;
    let without = match without {
        0 => String::new(),
        1 => "; 1 instance has no whole window yet".into(),
        many => format!("; {many} instances have no whole window yet"),
    };
    let (events, since) = (HumanCount(*events), HumanCount(*since));
    let all = match instances {
        1 => "the last whole window of 1 instance".into(),
        many => format!("the last whole windows of {many} instances"),
    };
    let headline = format!(
        "drift of {version} from its training: {events} events, {all}; {since} events since{without}"
    );
    if *instances == 0 {
        return headline;
    }
    format!("{headline}\n\n{}", table(drift).trim_fmt())
}

fn table(drift: &FleetDrift) -> Table {
    let header = ["", "PSI", "drift", "missing then", "now", "unknown then", "now"];
    let mut table = columns::table(header, &[]);
    for shift in &drift.outputs {
        table.add_row(row(shift, "prediction: "));
    }
    for shift in &drift.features {
        table.add_row(row(shift, ""));
    }
    for numbers in [1, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(shift: &Shift, what: &str) -> [String; 7] {
    let Shift { name, psi, is_expected, training, window } = shift;
    let word = match psi {
        _ if *is_expected => "expected",
        psi if *psi > MUCH => "much",
        psi if *psi > SOME => "some",
        _ => "",
    };
    let ratio = |of: fn(&Tally) -> f64, tally: &Tally| match of(tally) {
        0.0 => "-".into(),
        share => percent(share),
    };
    [
        format!("{what}{name}"),
        format!("{psi:.4}"),
        word.into(),
        ratio(Tally::missing_ratio, training),
        ratio(Tally::missing_ratio, window),
        ratio(Tally::unknown_ratio, training),
        ratio(Tally::unknown_ratio, window),
    ]
}

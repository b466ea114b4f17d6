//! Tables for people: columns without lines, wrapped to the terminal where there is one. Elsewhere
//! a row is a line, however long.

use comfy_table::{ContentArrangement, Table, presets};
use console::Term;

pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    let terminal = Term::stdout();
    if terminal.is_term() {
        let (_, width) = terminal.size();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// A moment of a report or a message, to the second; its column says that it is UTC.
pub fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).unwrap_or(rfc3339).replacen('T', " ", 1)
}

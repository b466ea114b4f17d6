//! Tables for people: columns without lines. Where there is a terminal, long texts are wrapped to it;
//! names and numbers never are, so that they can be copied. Elsewhere a row is a line.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use console::Term;
use jiff::Timestamp;

/// A column of text is made no narrower, however little room there is.
const TEXT_WIDTH_MIN: u16 = 20;

/// `texts`: the columns that may be wrapped.
pub fn table<const N: usize>(header: [&str; N], texts: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    let terminal = Term::stdout();
    if terminal.is_term() {
        let (_, width) = terminal.size();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_constraint(match texts.contains(&index) {
                true => ColumnConstraint::LowerBoundary(Width::Fixed(TEXT_WIDTH_MIN)),
                false => ColumnConstraint::ContentWidth,
            });
        }
    }
    table
}

/// A moment of a report or a message, to the second; its column says that it is UTC.
pub fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).unwrap_or(rfc3339).replacen('T', " ", 1)
}

/// The same in few letters: of today, the time; of another day, the date too, without its year.
pub fn recent(rfc3339: &str, now: Timestamp) -> String {
    let (moment, now) = (moment(rfc3339), now.to_string());
    match (moment.split_once(' '), moment.get(5..16)) {
        (Some((day, time)), _) if now.starts_with(day) => time.into(),
        (_, Some(day_and_time)) => day_and_time.into(),
        _ => moment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_today_is_a_time_and_another_has_its_date() {
        let now = "2026-11-27T06:35:24Z".parse().unwrap();
        let check = |text, expect| assert_eq!(recent(text, now), expect);
        check("2026-11-27T06:34:57.086Z", "06:34:57");
        check("2026-11-26T06:34:57.086Z", "11-26 06:34");
        check("soon", "soon");
    }
}

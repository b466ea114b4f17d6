//! The evaluation as people read it: Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::evaluate::{Evaluation, Measured, scalars};

/// One page: the verdict first.
pub fn markdown(model: &str, evaluation: &Evaluation) -> String {
    let Evaluation { new, served, folds, slices, corner_cases, refusals } = evaluation;
    let mut page = format!("# {model} version {}\n\n", new.version);
    match refusals.as_slice() {
        [] => page.push_str("It has earned its announcement.\n"),
        refusals => {
            page.push_str("**It has not earned its announcement:**\n\n");
            for refusal in refusals {
                let _ = writeln!(page, "- {refusal}");
            }
        }
    }
    let _ = writeln!(
        page,
        "\nJudged by {} rows that are newer than those it was fitted to; it refused {} events.\n",
        new.rows, new.rejected
    );
    let versions: Vec<&Measured> = std::iter::once(new).chain(served).chain(folds).collect();
    let heads: Vec<String> = versions
        .iter()
        .enumerate()
        .map(|(place, version)| {
            let serves = if place == 1 && served.is_some() { " (serves)" } else { "" };
            format!("{}{serves}", version.version)
        })
        .collect();
    table(&mut page, &heads, &versions);
    if let Some(matrix) = new.metrics.get("confusion") {
        let _ = writeln!(page, "\nConfusion (rows: what was, columns: what was said): `{matrix}`");
    }
    if !slices.is_empty() {
        page.push_str("\n## By slice\n\n");
        let names: BTreeSet<String> =
            slices.iter().flat_map(|slice| scalars(&slice.metrics).into_keys()).collect();
        let names: Vec<_> = names.into_iter().collect();
        row(
            &mut page,
            ["feature", "value", "rows"].map(str::to_owned).into_iter().chain(names.clone()),
        );
        row(&mut page, vec!["---".to_owned(); 3 + names.len()]);
        for slice in slices {
            let found = scalars(&slice.metrics);
            let cells = [slice.feature.clone(), slice.value.clone(), slice.rows.to_string()];
            row(
                &mut page,
                cells.into_iter().chain(names.iter().map(|name| number(found.get(name)))),
            );
        }
    }
    if !corner_cases.is_empty() {
        page.push_str("\n## Corner cases\n\n");
        row(&mut page, ["", "line", "expected", "found", "why"].map(str::to_owned));
        row(&mut page, vec!["---".to_owned(); 5]);
        for case in corner_cases {
            let holds = if case.holds { "holds" } else { "**fails**" };
            let why = case.why.clone().unwrap_or_default();
            row(
                &mut page,
                [holds.into(), case.line.to_string(), case.expect.clone(), case.found.clone(), why],
            );
        }
    }
    page
}

/// A metric a line, a version a column.
fn table(page: &mut String, heads: &[String], versions: &[&Measured]) {
    let names: BTreeSet<String> =
        versions.iter().flat_map(|version| version.scalars().into_keys()).collect();
    row(page, std::iter::once("metric".to_owned()).chain(heads.iter().cloned()));
    row(page, vec!["---".to_owned(); 1 + heads.len()]);
    for name in names {
        let cells = versions.iter().map(|version| number(version.scalars().get(&name)));
        row(page, std::iter::once(name.clone()).chain(cells));
    }
}

fn row(page: &mut String, cells: impl IntoIterator<Item = String>) {
    page.push('|');
    for cell in cells {
        let _ = write!(page, " {} |", cell.replace('|', "\\|"));
    }
    page.push('\n');
}

fn number(value: Option<&f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.6}"))
}

//! `foretell status --quality`: what evaluators say of each version.

use comfy_table::CellAlignment;
use indicatif::HumanCount;

use crate::cli::columns;
use crate::observe::quality::QualityReport;
use crate::quality::measure::Quality;

/// A line for each version of each evaluator, and what is wrong.
pub fn page(evaluators: &[&QualityReport]) -> String {
    if evaluators.is_empty() {
        return "no evaluator reports: `foretell evaluate` joins predictions with their labels"
            .into();
    }
    let header = ["evaluator", "partitions", "version", "labelled", "quality"];
    let mut table = columns::table(header, &[4]);
    for report in evaluators {
        let none = report.versions.is_empty().then(|| row(report, None));
        let rows = report.versions.iter().map(|quality| row(report, Some(quality)));
        rows.chain(none).for_each(|row| {
            table.add_row(row);
        });
    }
    for numbers in [1, 3] {
        if let Some(column) = table.column_mut(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let faults = evaluators.iter().filter_map(|report| {
        let waits = report.waits_for.iter().map(|why| format!("not ready: {why}"));
        let said: Vec<_> = report.fault.iter().cloned().chain(waits).collect();
        (!said.is_empty()).then(|| format!("\n{}: {}", report.evaluator, said.join("; ")))
    });
    table.trim_fmt() + &faults.collect::<String>()
}

fn row(report: &QualityReport, quality: Option<&Quality>) -> [String; 5] {
    let metrics = quality.into_iter().flat_map(|quality| &quality.metrics);
    let metrics: Vec<_> = metrics.map(|(name, value)| format!("{name} {value:.4}")).collect();
    [
        report.evaluator.clone(),
        report.partitions.len().to_string(),
        quality.map_or("none".into(), |quality| quality.version.clone()),
        HumanCount(quality.map_or(0, |quality| quality.rows)).to_string(),
        metrics.join("  "),
    ]
}

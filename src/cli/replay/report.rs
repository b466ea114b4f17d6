//! What a replay tells at its end: tables for people, or one JSON object.

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::pass::Totals;
use super::recorded::Recorded;
use super::slices::Slice;
use crate::bus::range::Span;
use crate::compare::percent;
use crate::model::version::Version;
use crate::observe::reports::Agreement;

/// More slices than this nobody reads.
const SLICES_MAX: usize = 10;

/// What is told.
pub struct Report<'a> {
    pub version: &'a Version,
    pub events: &'a str,
    pub spans: &'a [(i32, Span)],
    /// What was compared with, and the topic it stands on.
    pub recorded: Option<(&'a str, &'a Recorded)>,
    pub totals: &'a mut Totals,
}

impl Report<'_> {
    fn events_per_second(&self) -> f64 {
        self.totals.events as f64 / self.totals.took.as_secs_f64().max(1e-9)
    }

    pub fn json(&mut self) -> Value {
        let range = self.spans.iter().map(|(partition, Span { first, stop, .. })| {
            json!({"partition": partition, "from": first, "to": stop})
        });
        let range: Vec<_> = range.collect();
        let speed = self.events_per_second().round();
        let against = self.recorded.map(|recorded| self.against_json(recorded));
        let Totals { events, tombstones, scored, refused, took, .. } = &*self.totals;
        json!({
            "model": self.version.model, "version": self.version.version,
            "digest": self.version.digest, "topic": self.events, "range": range,
            "events": events, "tombstones": tombstones, "scored": scored, "refused": refused,
            "seconds": took.as_secs_f64(), "events_per_second": speed, "against": against,
        })
    }

    fn against_json(&mut self, (topic, recorded): (&str, &Recorded)) -> Value {
        let is_classifier = self.version.task.is_classifier();
        let measure = if is_classifier { "flip_share" } else { "mean_difference" };
        let overall = self.totals.slices.overall().mean();
        let slices = self.totals.slices.most(SLICES_MAX);
        let slice = |Slice { feature, values, tally }: Slice<'_>| json!({"feature": feature, "values": values, "rows": tally.rows, measure: tally.mean()});
        let slices: Vec<_> = slices.into_iter().map(slice).collect();
        let comparison = &self.totals.comparison;
        let mut told = json!({
            "topic": topic, "versions": recorded.versions(), "unreadable": recorded.unreadable,
            "compared": comparison.rows, "lost": comparison.lost, "gained": comparison.gained,
            "difference": Agreement::from(comparison).difference,
            "slices": slices,
        });
        told[measure] = overall.into();
        if is_classifier {
            told["flips"] = comparison.flips.into();
        }
        told
    }

    pub fn text(&mut self) -> String {
        let mut text = self.totals_table().trim_fmt();
        if self.recorded.is_some() && self.totals.comparison.rows > 0 {
            text += "\n\n";
            text += &self.slices_text();
        }
        text
    }

    fn totals_table(&self) -> Table {
        let mut table = table();
        let mut row = |name: &str, figure: String, more: String| {
            table.add_row([Cell::new(name), right(figure), Cell::new(more)]);
        };
        let totals = &*self.totals;
        row("events", count(totals.events), format!("of `{}`", self.events));
        if totals.tombstones > 0 {
            row("tombstones", count(totals.tombstones), "without a value, passed over".into());
        }
        let Version { model, version, .. } = self.version;
        row("scored", count(totals.scored), format!("by {model} version {version}"));
        let refused = totals.refused.iter();
        let reasons = refused.map(|(reason, events)| format!("{reason} {}", count(*events)));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        row("refused", count(totals.refused.values().sum()), reasons);
        if let Some((topic, recorded)) = self.recorded {
            self.compared(&mut row, topic, recorded);
        }
        let seconds = totals.took.as_secs_f64();
        row("events/s", count(self.events_per_second() as u64), format!("in {seconds:.1} s"));
        table
    }

    fn compared(
        &self,
        row: &mut impl FnMut(&str, String, String),
        topic: &str,
        recorded: &Recorded,
    ) {
        let comparison = &self.totals.comparison;
        let versions = recorded.versions();
        let by = versions.iter().map(|(version, events)| format!("{version} ({})", count(*events)));
        let by = by.collect::<Vec<_>>().join(", ");
        let by = if by.is_empty() {
            "which answers none of them".into()
        } else {
            format!("by version {by}")
        };
        row("compared", count(comparison.rows), format!("with `{topic}`, {by}"));
        let is_any = comparison.rows > 0;
        if is_any && self.version.task.is_classifier() {
            let share = percent(comparison.flip_share());
            row("another class", count(comparison.flips), format!("{share} of those compared"));
        }
        row("lost", count(comparison.lost), "predicted then, refused now".into());
        row("gained", count(comparison.gained), "scored now, no prediction then".into());
        if recorded.unreadable > 0 {
            let more = format!("records of `{topic}` are no predictions");
            row("unreadable", count(recorded.unreadable), more);
        }
        if !is_any {
            return;
        }
        let [p50, p90, p99, max] =
            [0.5, 0.9, 0.99, 1.0].map(|quantile| figure(comparison.difference(quantile)));
        let more = format!("median, relative above 1; p90 {p90}, p99 {p99}, max {max}");
        row("difference", p50, more);
    }

    fn slices_text(&mut self) -> String {
        let is_classifier = self.version.task.is_classifier();
        let show = |mean| if is_classifier { percent(mean) } else { figure(mean) };
        let overall = self.totals.slices.overall().mean();
        let slices = self.totals.slices.most(SLICES_MAX);
        let measure = if is_classifier { "another class" } else { "mean difference" };
        let all = format!("{measure}, of all events compared: {}", show(overall));
        if slices.is_empty() {
            return format!("No feature's values stand out ({all})");
        }
        let mut table = table();
        let (events, measure) = (right("events"), right(measure));
        table.set_header([
            Cell::new("feature"),
            Cell::new("values"),
            events,
            measure,
            right("of all"),
        ]);
        for Slice { feature, values, tally } in slices {
            let times = format!("× {:.1}", tally.mean() / overall);
            let (events, measure) = (right(count(tally.rows)), right(show(tally.mean())));
            table.add_row([Cell::new(feature), Cell::new(values), events, measure, right(times)]);
        }
        format!("Where they differ most ({all})\n{}", table.trim_fmt())
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn count(events: u64) -> String {
    HumanCount(events).to_string()
}

/// Differences are known to two digits.
fn figure(difference: f64) -> String {
    match difference {
        0.0 => "0".into(),
        1e-4.. => format!("{difference:.4}"),
        _ => format!("{difference:.1e}"),
    }
}

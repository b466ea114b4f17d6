//! What a redrive tells at its end: a table for people, or one JSON object.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::HumanCount;
use serde_json::{Value, json};

use crate::config::Config;
use crate::reject::Reason;

/// Why a record of the dead-letters topic was left where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// A run before has put it back.
    PutBackBefore,
    /// It is of another reason, partition or time than was asked for.
    Filtered,
    /// It was refused too often.
    Attempts,
    /// It has no value, and its event is no longer on the events topic.
    Gone,
    /// The events topic takes no record of that length.
    TooLong,
    /// Its event stood on another topic.
    OtherTopic,
    /// It is no dead letter of this program, or of a later version of it.
    NoLetter,
}

impl Left {
    const ALL: [Self; 7] = [
        Self::PutBackBefore,
        Self::Filtered,
        Self::Attempts,
        Self::Gone,
        Self::TooLong,
        Self::OtherTopic,
        Self::NoLetter,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::PutBackBefore => "put_back_before",
            Self::Filtered => "filtered",
            Self::Attempts => "attempts",
            Self::Gone => "gone",
            Self::TooLong => "too_long",
            Self::OtherTopic => "other_topic",
            Self::NoLetter => "no_letter",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::PutBackBefore => "put back by an earlier run",
            Self::Filtered => "not asked for",
            Self::Attempts => "refused too often; `--attempts-max` says how often is too often",
            Self::Gone => {
                "the letter had no room for the event, which the events topic no longer holds"
            }
            Self::TooLong => "longer than the events topic takes",
            Self::OtherTopic => "of another events topic",
            Self::NoLetter => "no dead letters that this version knows",
        }
    }
}

/// What became of the letters.
#[derive(Debug, Default)]
pub struct Totals {
    /// Records that are no notes, from the first on that may not have been put back.
    pub read: u64,
    /// Events put back, or in a dry run those that would be.
    pub reasons: BTreeMap<Reason, u64>,
    /// The same by partition of the events topic.
    pub partitions: BTreeMap<i32, u64>,
    pub left: BTreeMap<Left, u64>,
}

/// What is told.
pub struct Report<'a> {
    pub config: &'a Config,
    pub totals: &'a Totals,
    pub is_dry: bool,
}

impl Report<'_> {
    pub fn json(&self) -> Value {
        let Totals { read, reasons, partitions, left } = self.totals;
        let all = Left::ALL.map(|it| (it.name(), left.get(&it).copied().unwrap_or(0)));
        let names = |(reason, count): (&Reason, &u64)| (reason.as_str(), *count);
        json!({
            "dry_run": self.is_dry,
            "dead_letters": self.config.topics.dead_letters,
            "events": self.config.topics.events,
            "read": read,
            "put_back": reasons.values().sum::<u64>(),
            "reasons": reasons.iter().map(names).collect::<BTreeMap<_, _>>(),
            "partitions": partitions,
            "left": BTreeMap::from(all),
        })
    }

    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut row = |name: &str, count: u64, more: String| {
            let count = Cell::new(HumanCount(count)).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(name), count, Cell::new(more)]);
        };
        let Totals { read, reasons, partitions, left } = self.totals;
        row("read", *read, format!("of `{}`", self.config.topics.dead_letters));
        let done = if self.is_dry { "to put back" } else { "put back" };
        row(done, reasons.values().sum(), format!("on `{}`", self.config.topics.events));
        for (reason, count) in reasons {
            row("", *count, format!("{reason}"));
        }
        for (partition, count) in partitions {
            row("", *count, format!("partition {partition}"));
        }
        for (left, count) in left {
            row("left", *count, left.says().into());
        }
        table.trim_fmt()
    }
}

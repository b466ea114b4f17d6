//! Predictions and labels joined by id, as far back as the window goes.
//!
//! Both topics are keyed alike, so that what belongs together stands on partitions of the same number; each is joined
//! apart, and forgotten apart when it goes to another member. Either side may come first. **The last one counts, on
//! both sides**: a label that is corrected, an event that was scored again. So it does not matter in which order the
//! two topics are read, and a restart that reads the window again comes to the same pairs.
//!
//! A row is an id. It stays until the older of what it holds is older than the window, or until there are too many
//! and it is the oldest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::label::{Label, Told};
use super::said::{Prediction, Said};
use crate::model::manifest::TaskKind;

/// Labels that are looked at for one that went astray.
const LOOKS: usize = 100;

/// The rows of all partitions that this member has.
#[derive(Debug)]
pub struct Window {
    rows_max: usize,
    /// What is older has no place here, in milliseconds since the epoch.
    horizon_ms: i64,
    partitions: HashMap<i32, HashMap<Arc<str>, Row>>,
    /// Every row, oldest first.
    order: BTreeMap<Stamp, (i32, Arc<str>)>,
    /// Makes stamps of the same time different.
    stamped: u64,
    versions: HashMap<Arc<str>, Known>,
    dropped: Dropped,
}

/// A row's time and a number of its own.
type Stamp = (i64, u64);

#[derive(Debug)]
struct Row {
    stamp: Stamp,
    prediction: Option<Made>,
    label: Option<(i64, Label)>,
}

/// A prediction, when it was made, and by whom.
#[derive(Debug)]
struct Made {
    time_ms: i64,
    version: Arc<str>,
    control_offset: Option<i64>,
    said: Said,
}

/// What is known of a version by its predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub kind: TaskKind,
    /// By class; a binary version tells one name at a time.
    pub names: Vec<Option<String>>,
}

/// Rows that left the window since somebody asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// For their age, without ever a label.
    pub predictions: u64,
    /// For their age, without ever a prediction.
    pub labels: u64,
    /// Because there were too many.
    pub evicted: u64,
}

/// Rows that are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    pub pairs: u64,
    pub predictions: u64,
    pub labels: u64,
}

/// A prediction and its label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair<'a> {
    pub version: &'a str,
    /// Offset of the control message that chose it.
    pub control_offset: Option<i64>,
    pub said: &'a Said,
    pub label: &'a Label,
}

impl Window {
    /// Nothing yet. `rows_max`: ids of all partitions together.
    pub fn new(rows_max: usize) -> Self {
        Self {
            rows_max,
            horizon_ms: i64::MIN,
            partitions: HashMap::new(),
            order: BTreeMap::new(),
            stamped: 0,
            versions: HashMap::new(),
            dropped: Dropped::default(),
        }
    }

    /// Takes in a prediction of `time_ms`, milliseconds since the epoch.
    ///
    /// # Errors
    /// It contradicts what its version has said before.
    pub fn predicted(
        &mut self,
        partition: i32,
        time_ms: i64,
        prediction: Prediction,
    ) -> Result<(), String> {
        if time_ms < self.horizon_ms {
            self.dropped.predictions += 1;
            return Ok(());
        }
        let Prediction { id, version, control_offset, said, names, .. } = prediction;
        let version = self.learn(version, &said, names)?;
        let made = Made { time_ms, version, control_offset, said };
        self.change(partition, id, |row| row.prediction = Some(made));
        Ok(())
    }

    /// Takes in what became of an event.
    pub fn labelled(&mut self, partition: i32, time_ms: i64, Told { id, label }: Told) {
        if time_ms >= self.horizon_ms {
            self.change(partition, id, |row| row.label = label.map(|label| (time_ms, label)));
        } else if label.is_some() {
            self.dropped.labels += 1;
        }
    }

    /// The version's name as it is kept once, and what it says of its classes.
    fn learn(
        &mut self,
        version: String,
        said: &Said,
        names: Vec<(usize, String)>,
    ) -> Result<Arc<str>, String> {
        let classes = match said {
            Said::Binary { .. } => 2,
            Said::Multiclass(probabilities) => probabilities.len(),
            Said::Value(_) => 0,
        };
        let version: Arc<str> = match self.versions.get_key_value(version.as_str()) {
            Some((version, _)) => Arc::clone(version),
            None => version.into(),
        };
        let entry = self
            .versions
            .entry(Arc::clone(&version))
            .or_insert_with(|| Known { kind: said.kind(), names: vec![None; classes] });
        if entry.kind != said.kind() || entry.names.len() != classes {
            return Err("it is of another kind than this version's predictions before".into());
        }
        for (class, name) in names {
            match &entry.names[class] {
                None => entry.names[class] = Some(name),
                Some(known) if *known == name => {}
                Some(known) => {
                    return Err(format!("class {class} is `{name}`, and was `{known}` before"));
                }
            }
        }
        Ok(version)
    }

    /// Changes what is held of an id, and its place among the others.
    fn change(&mut self, partition: i32, id: String, change: impl FnOnce(&mut Row)) {
        let rows = self.partitions.entry(partition).or_default();
        let id: Arc<str> = match rows.get_key_value(id.as_str()) {
            Some((id, _)) => Arc::clone(id),
            None => id.into(),
        };
        let mut row =
            rows.remove(&id).unwrap_or(Row { stamp: (i64::MIN, 0), prediction: None, label: None });
        self.order.remove(&row.stamp);
        change(&mut row);
        let Some(time) = row.time() else { return };
        self.stamped += 1;
        row.stamp = (time, self.stamped);
        self.order.insert(row.stamp, (partition, Arc::clone(&id)));
        rows.insert(id, row);
        while self.order.len() > self.rows_max {
            self.drop_oldest();
            self.dropped.evicted += 1;
        }
    }

    fn drop_oldest(&mut self) -> Option<Row> {
        let (_, (partition, id)) = self.order.pop_first()?;
        self.partitions.get_mut(&partition)?.remove(&id)
    }

    /// Moves the window on: what is older than `horizon_ms` leaves.
    pub fn advance(&mut self, horizon_ms: i64) {
        self.horizon_ms = self.horizon_ms.max(horizon_ms);
        while self.order.first_key_value().is_some_and(|((time, _), _)| *time < self.horizon_ms) {
            match self.drop_oldest() {
                Some(Row { label: None, .. }) => self.dropped.predictions += 1,
                Some(Row { prediction: None, .. }) => self.dropped.labels += 1,
                _ => {}
            }
        }
    }

    /// Forgets a partition: another member has it now.
    pub fn forget(&mut self, partition: i32) {
        for (_, row) in self.partitions.remove(&partition).into_iter().flatten() {
            self.order.remove(&row.stamp);
        }
    }

    /// What left since the last call.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Forgets versions of which nothing is left.
    pub fn tidy(&mut self) {
        let rows = self.partitions.values().flat_map(HashMap::values);
        let mut left: HashMap<Arc<str>, Known> = HashMap::new();
        for Made { version, .. } in rows.filter_map(|row| row.prediction.as_ref()) {
            if !left.contains_key(version)
                && let Some((version, known)) = self.versions.remove_entry(version)
            {
                left.insert(version, known);
            }
        }
        self.versions = left;
    }

    pub fn held(&self) -> Held {
        let mut held = Held::default();
        for row in self.partitions.values().flat_map(HashMap::values) {
            match (&row.prediction, &row.label) {
                (Some(_), Some(_)) => held.pairs += 1,
                (Some(_), None) => held.predictions += 1,
                (None, _) => held.labels += 1,
            }
        }
        held
    }

    /// All pairs, in no order.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let rows = self.partitions.values().flat_map(HashMap::values);
        rows.filter_map(|row| {
            let Made { version, control_offset, said, .. } = row.prediction.as_ref()?;
            let (_, label) = row.label.as_ref()?;
            Some(Pair { version, control_offset: *control_offset, said, label })
        })
    }

    /// A label that waits on another partition than the prediction of its id does, if one of some that are looked
    /// at is such: its id, its partition, and that of the prediction.
    pub fn stray(&self) -> Option<(&str, i32, i32)> {
        let waits = |row: &Row| row.prediction.is_none();
        let labels = self.partitions.iter().flat_map(|(&partition, rows)| {
            let waiting = rows.iter().filter(move |(_, row)| waits(row)).take(LOOKS);
            waiting.map(move |(id, _)| (id, partition))
        });
        labels.take(LOOKS).find_map(|(id, partition)| {
            let has = |rows: &HashMap<_, Row>| rows.get(id).is_some_and(|row| row.label.is_none());
            let mut others = self.partitions.iter().filter(|(_, rows)| has(rows));
            others.next().map(|(&other, _)| (&**id, partition, other))
        })
    }

    /// What a version's predictions tell of it.
    pub fn known(&self, version: &str) -> Option<&Known> {
        self.versions.get(version)
    }
}

impl Row {
    /// That of the older of the two; `None`: it holds nothing.
    fn time(&self) -> Option<i64> {
        let prediction = self.prediction.as_ref().map(|made| made.time_ms);
        let label = self.label.as_ref().map(|(time, _)| *time);
        prediction.into_iter().chain(label).min()
    }
}

#[cfg(test)]
mod tests;

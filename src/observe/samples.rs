//! Instances as tests want them.

use std::sync::Arc;
use std::time::Duration;

use super::status::{Identity, Status};
use crate::bus::{Lag, Stand};
use crate::compare::Comparison;
use crate::drift::Live;
use crate::model::gate::{Check, Refusal, Times};
use crate::model::manifest::{Task, TaskKind};
use crate::model::tiny;
use crate::model::version::Version;
use crate::record::NextOffset;
use crate::reject::Reason;
use crate::score::Scorer;
use crate::serving::Served;
use crate::shadow::Shadow;
use crate::stop::Stop;
use crate::worker::{self, Example, Held, Turn};

/// A hundred rows, of which one had no `x`.
const REFERENCE: &str = r#"{
    "rows": 100,
    "features": [{"name": "x", "edges": [0.5], "counts": [49, 50], "missing": 1}],
    "outputs": [{"name": "probability", "edges": [0.1, 0.9], "counts": [10, 80, 10]}]
}"#;

pub const PATIENCE: Duration = Duration::from_secs(40);

/// Two workers, and nothing told yet.
pub fn starting() -> Status {
    Status::new(identity(), 2, PATIENCE, Stop::default())
}

pub fn identity() -> Identity {
    Identity {
        instance: "flights-1".into(),
        host: "here".into(),
        model: "late-arrival".into(),
        configured: None,
    }
}

/// It has served version 1, serves version 2 since, and has refused version 3.
pub fn serving() -> Status {
    let status = starting();
    status.control_message(41, "retrain-complete");
    status.control_log_read();
    status.swapped(&served("1", None));
    let served_now = served("2", Some(41));
    status.swapped(&served_now);
    sees(&served_now, 3);
    status.control_message(42, "retrain-complete");
    let times = Times(vec![(Check::Fetch, Duration::from_millis(30))]);
    let refusal = Refusal::new(Check::Golden, "row 1 gives 2, 1 was recorded");
    status.judged("3", &times, Some(&refusal), None);
    status.control_message(43, "malformed");
    status.skipped(43, "expected value at line 1 column 1");
    status.candidates(vec!["4".into()]);
    status.shadowed(&served("2", Some(41)).beside(Some(Arc::new(shadow("4")))));
    status.judged("4", &times, None, Some(&Comparison::default()));
    status.asked("promote");
    status.requested(200, 2, 1, Duration::from_millis(1));
    for index in [0, 1] {
        let worker = status.worker(index);
        worker.joined();
        worker.rebalances(1);
        worker.turned(&turn("2"), stand(index as i32, 100, 7));
    }
    status
}

/// 90 predictions, 10 dead letters of two reasons, one tombstone.
pub fn turn(version: &str) -> Turn {
    let ms = Duration::from_millis;
    Turn {
        predictions: 90,
        dead_letters: [(Reason::NotJson, 6), (Reason::WrongKind, 4)].into(),
        tombstones: 1,
        retries: 1,
        served: Some(Arc::new(served(version, None))),
        held: None,
        cost: ms(2),
        times: worker::Times { collect: ms(25), score: ms(3), settle: ms(8) },
    }
}

/// A worker that has one partition.
pub fn stand(partition: i32, next: i64, events: u64) -> Stand {
    let lags = vec![Lag { partition, next: NextOffset::at(next), events }];
    Stand { lags, ..Stand::default() }
}

/// A turn that holds back what would be two dead letters of three events.
pub fn holding() -> Turn {
    let message = "`x` at `/x`: expected a number, found text".into();
    let example = Example { topic: "events".into(), partition: 3, offset: 7, message };
    let window = Default::default();
    let mut held = Held { version: "2".into(), window, example: Some(example) };
    held.window.answer();
    (0..2).for_each(|_| held.window.reject(Reason::WrongKind));
    Turn { held: Some(Arc::new(held)), ..Turn::default() }
}

pub fn served(version: &str, control_offset: Option<i64>) -> Served {
    Served::alone(Arc::new(self::version(version)), control_offset).watched(1, &[])
}

/// A window of so many events.
pub fn sees(served: &Served, events: usize) {
    let Some(drift) = &served.drift else { return };
    let (mut live, mut scorer) = (Live::default(), Scorer::new(events));
    live.begin(drift, 0);
    live.count(drift, &scorer.score(&served.version, vec![&br#"{"x":1}"#[..]; events].into_iter()));
    live.settled(drift);
}

/// A candidate that has scored two events like what serves, and a third with another class.
fn shadow(version: &str) -> Shadow {
    let shadow = Shadow::new(Arc::new(self::version(version)), 44);
    let mut comparison = Comparison::default();
    let task = Task { kind: TaskKind::Binary, labels: Vec::new(), threshold: None };
    for (first, second) in [(0.1, 0.1), (0.9, 0.9), (0.4, 0.6)] {
        comparison.add((&task, Some(&[first])), (&task, Some(&[second])));
    }
    comparison.add_cost(Duration::from_micros(2), Duration::from_micros(3));
    shadow.add(&comparison);
    shadow
}

fn version(version: &str) -> Version {
    let version = tiny::version(version, &["x"], 4.5, [0.1, 0.9]);
    let mut version = Arc::into_inner(version).expect("nobody else has it");
    version.model = "late-arrival".into();
    version.reference = serde_json::from_str(REFERENCE).ok();
    version
}

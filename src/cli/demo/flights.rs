//! The sample of real flights, which the binary carries: as many events as wanted, and what became
//! of each flight.

use std::collections::HashMap;
use std::io;

use serde::Deserialize;

const EVENTS: &[u8] = include_bytes!("../../../examples/flights/events.jsonl.zst");
const LABELS: &[u8] = include_bytes!("../../../examples/flights/labels.jsonl.zst");

/// How each event begins; `id` is its first field.
const HEAD: &str = r#"{"id":""#;

/// Every departure from New York in December 2013, in the order in which they left.
pub struct Flights {
    events: Vec<String>,
}

/// An event as it is published.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub json: String,
}

impl Event {
    /// Tells the departure's delay in seconds instead of minutes.
    pub fn delay_in_seconds(&mut self) {
        const DELAY: &str = "\"delay\":";
        let Some((before, rest)) = self.json.split_once(DELAY) else { return };
        let end = rest.find(['}', ',']).unwrap_or(rest.len());
        let Ok(minutes) = rest[..end].parse::<i64>() else { return };
        self.json = format!("{before}{DELAY}{}{}", 60 * minutes, &rest[end..]);
    }
}

impl Flights {
    pub fn unpack() -> io::Result<Self> {
        Ok(Self { events: lines(EVENTS)? })
    }

    /// Event `number` of an endless row: when the sample is over it begins again, with ids of its
    /// own, `UA1545-2013-12-01-EWR+1`.
    pub fn event(&self, number: u64) -> Event {
        let count = self.events.len() as u64;
        let (round, at) = (number / count, (number % count) as usize);
        let rest = self.events[at].strip_prefix(HEAD).unwrap_or_default();
        let (id, rest) = rest.split_once('"').unwrap_or_default();
        let id = if round == 0 { id.to_owned() } else { format!("{id}+{round}") };
        let json = format!("{HEAD}{id}\"{rest}");
        Event { id, json }
    }
}

/// Which flights did arrive 15 or more minutes late. Nobody knew when they left.
pub struct Arrivals {
    late: HashMap<String, bool>,
}

impl Arrivals {
    pub fn unpack() -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Labelled {
            id: String,
            label: u8,
        }
        let mut late = HashMap::new();
        for line in lines(LABELS)? {
            let Labelled { id, label } = serde_json::from_str(&line)?;
            late.insert(id, label == 1);
        }
        Ok(Self { late })
    }

    /// `None` for a flight whose arrival is not known, such as a diverted one.
    pub fn was_late(&self, id: &str) -> Option<bool> {
        let sampled = id.split('+').next()?;
        self.late.get(sampled).copied()
    }
}

fn lines(packed: &[u8]) -> io::Result<Vec<String>> {
    let text = String::from_utf8(zstd::decode_all(packed)?).map_err(io::Error::other)?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_json_with_its_id_and_the_next_round_has_ids_of_its_own() {
        let flights = Flights::unpack().unwrap();
        let count = flights.events.len() as u64;
        assert!(count >= 20_000);
        for number in (0..2 * count).step_by(997) {
            let event = flights.event(number);
            let json: serde_json::Value = serde_json::from_str(&event.json).unwrap();
            assert_eq!(json["id"], event.id);
        }
        assert_eq!(flights.event(3).json, flights.events[3]);
        assert_eq!(flights.event(count).id, format!("{}+1", flights.event(0).id));
    }

    #[test]
    fn a_delay_becomes_seconds_and_nothing_else_changes() {
        let mut event = Flights::unpack().unwrap().event(7);
        let mut json: serde_json::Value = serde_json::from_str(&event.json).unwrap();
        let minutes = json["departure"]["delay"].as_i64().unwrap();
        event.delay_in_seconds();
        json["departure"]["delay"] = (60 * minutes).into();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&event.json).unwrap(), json);
    }

    #[test]
    fn what_became_of_a_flight_is_known_in_every_round() {
        let (flights, arrivals) = (Flights::unpack().unwrap(), Arrivals::unpack().unwrap());
        let count = flights.events.len() as u64;
        let was_late = |number| arrivals.was_late(&flights.event(number).id);
        assert!(was_late(0).is_some());
        assert_eq!(was_late(0), was_late(count));
        assert_eq!(arrivals.was_late("nonsense"), None);
    }
}

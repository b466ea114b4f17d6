//! The event that a letter had no room for, from where it stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::letter::Letter;
use crate::bus::Fatal;
use crate::bus::range::Edge;
use crate::bus::tail::{Record, Step, Tail};
use crate::config::Config;
use crate::record::NextOffset;

/// How long one look waits.
const TICK: Duration = Duration::from_millis(100);

/// The event of `letter`, whose key that letter carries, if it does; `None` if it is gone, or another one
/// stands in its place.
///
/// # Errors
/// The events topic cannot be read within `kafka.connect_timeout_ms`.
pub fn fetch(
    config: &Config,
    letter: &Letter<'_>,
    key: Option<&[u8]>,
) -> Result<Option<Record>, Fatal> {
    let (kafka, topic) = (&config.kafka, &config.topics.events);
    let place = |offset| Edge::Offsets(BTreeMap::from([(letter.partition, offset)]));
    let (first, behind) = (place(letter.offset), place(NextOffset::after(letter.offset).get()));
    let mut tail = Tail::open_range(kafka, topic, &first, &behind)?;
    let patience = Duration::from_millis(kafka.connect_timeout_ms);
    let until = Instant::now() + patience;
    loop {
        match tail.next(TICK)? {
            Step::Record(record) => {
                return Ok(Some(record).filter(|record| is_of(record, letter, key)));
            }
            Step::End => return Ok(None),
            Step::Nothing if Instant::now() < until => {}
            Step::Nothing => {
                return Err(Fatal::Unavailable(format!(
                    "reading `{topic}`, partition {}, offset {}: nothing came within {} ms",
                    letter.partition,
                    letter.offset,
                    patience.as_millis()
                )));
            }
        }
    }
}

/// A topic that was made anew has other events at the same offsets.
fn is_of(record: &Record, letter: &Letter<'_>, key: Option<&[u8]>) -> bool {
    let bytes = record.value.as_ref().map_or(0, Vec::len);
    let is_right_size = letter.omitted.is_some_and(|omitted| 0 < bytes && bytes <= omitted);
    record.offset == letter.offset
        && is_right_size
        && (key.is_none() || key == record.key.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Reason;

    #[test]
    fn another_event_in_its_place_is_not_taken_for_it() {
        let letter = Letter {
            reason: Reason::TooLarge,
            attempt: 1,
            topic: "events",
            partition: 0,
            offset: 7,
            omitted: Some(5),
        };
        let record = |offset, key: &str, value: &str| Record {
            partition: 0,
            offset,
            timestamp_ms: None,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        };
        assert!(is_of(&record(7, "k", "12345"), &letter, Some(b"k")));
        // The letter had no room for the key either.
        assert!(is_of(&record(7, "kk", "123"), &letter, None));
        assert!(!is_of(&record(7, "other", "12345"), &letter, Some(b"k")));
        assert!(!is_of(&record(7, "k", "123456"), &letter, Some(b"k")));
        assert!(!is_of(&record(8, "k", "12345"), &letter, Some(b"k")));
    }
}

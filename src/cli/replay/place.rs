//! Where a replay begins or ends, as it is typed.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::bus::range::Edge;
use crate::cli::failure::Failure;

/// One `--from` or `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Beginning,
    End,
    /// Milliseconds since the epoch.
    Time(i64),
    /// On every partition.
    Offset(i64),
    /// On one partition.
    On(i32, i64),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => return Ok(Self::Beginning),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Some(offset) = number(text) {
            return Ok(Self::Offset(offset));
        }
        let place = text.split_once(':').and_then(|(partition, offset)| {
            Some((number(partition)?.try_into().ok()?, number(offset)?))
        });
        if let Some((partition, offset)) = place {
            return Ok(Self::On(partition, offset));
        }
        let time = text.parse::<jiff::Timestamp>().map_err(|_| {
            "expected `beginning`, `end`, an offset, PARTITION:OFFSET, or a time with its zone as in 2013-12-01T05:15:00-05:00"
        })?;
        Ok(Self::Time(time.as_millisecond()))
    }
}

/// A number without sign.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The edge of the range that all `flag`s together mean; without any, `default`.
///
/// # Errors
/// More than one of them, which are not offsets of a partition each.
pub fn edge(flag: &str, places: &[Place], default: Edge) -> Result<Edge, Failure> {
    match places {
        [] => return Ok(default),
        [Place::Beginning] => return Ok(Edge::Beginning),
        [Place::End] => return Ok(Edge::End),
        [Place::Time(time)] => return Ok(Edge::Time(*time)),
        [Place::Offset(offset)] => return Ok(Edge::Offset(*offset)),
        _ => {}
    }
    let mut offsets = BTreeMap::new();
    for place in places {
        let Place::On(partition, offset) = *place else {
            return Err(Failure::usage(format!(
                "`{flag}` is given more than once\n\nhint: only PARTITION:OFFSET may be repeated, once a partition"
            )));
        };
        if offsets.insert(partition, offset).is_some() {
            return Err(Failure::usage(format!("`{flag}` names partition {partition} twice")));
        }
    }
    Ok(Edge::Offsets(offsets))
}

/// Sees that both edges name the same partitions, where both name any.
///
/// # Errors
/// They do not.
pub fn agree(from: &Edge, to: &Edge) -> Result<(), Failure> {
    let (Edge::Offsets(from), Edge::Offsets(to)) = (from, to) else { return Ok(()) };
    let odd = from.keys().find(|partition| !to.contains_key(partition));
    let odd = odd.or_else(|| to.keys().find(|partition| !from.contains_key(partition)));
    match odd {
        Some(partition) => Err(Failure::usage(format!(
            "only one of `--from` and `--to` names partition {partition}\n\nhint: where both give offsets by partition, they have to name the same ones"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_an_offset_a_partitions_offset_or_a_time() {
        let check = |text: &str, expected: Place| assert_eq!(text.parse(), Ok(expected), "{text}");
        check("beginning", Place::Beginning);
        check("end", Place::End);
        check("0", Place::Offset(0));
        check("41", Place::Offset(41));
        check("3:41", Place::On(3, 41));
        check("1970-01-01T00:00:01.5Z", Place::Time(1500));
        check("1970-01-01T00:00:00-05:00", Place::Time(5 * 3_600_000));
        for text in ["", "-1", "3:", ":4", "3:-4", "2013-12-01", "2013-12-01T05:15:00", "start"] {
            let told = text.parse::<Place>().unwrap_err();
            assert!(told.contains("PARTITION:OFFSET"), "{text}: {told}");
        }
        // A partition beyond i32 is none.
        assert!("9999999999:1".parse::<Place>().is_err());
    }

    #[test]
    fn only_offsets_of_partitions_add_up() {
        let both = [Place::On(0, 5), Place::On(2, 7)];
        let expected = Edge::Offsets(BTreeMap::from([(0, 5), (2, 7)]));
        assert_eq!(edge("--from", &both, Edge::Beginning).unwrap(), expected);
        assert_eq!(edge("--from", &[], Edge::Beginning).unwrap(), Edge::Beginning);
        assert_eq!(edge("--to", &[Place::Offset(9)], Edge::End).unwrap(), Edge::Offset(9));
        for wrong in [
            [Place::On(0, 5), Place::On(0, 7)],
            [Place::On(0, 5), Place::Offset(7)],
            [Place::Beginning, Place::Beginning],
        ] {
            assert!(edge("--from", &wrong, Edge::Beginning).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn both_edges_name_the_same_partitions() {
        let offsets = |partitions: &[i32]| {
            Edge::Offsets(partitions.iter().map(|&partition| (partition, 1)).collect())
        };
        assert!(agree(&offsets(&[0, 1]), &offsets(&[0, 1])).is_ok());
        assert!(agree(&offsets(&[0]), &Edge::End).is_ok());
        assert!(agree(&offsets(&[0]), &offsets(&[0, 1])).is_err());
        assert!(agree(&offsets(&[0, 1]), &offsets(&[0])).is_err());
    }
}

//! Asks the broker who owns which partitions of a group.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{Fatal, options};
use crate::config::Kafka;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Partitions by the `client.id` of the member that owns them, whatever their topics; members that
/// own none are left out. For the `classic` protocol: others' assignments are not told this way.
///
/// # Errors
/// The broker does not answer.
pub fn owners(kafka: &Kafka, group: &str) -> Result<BTreeMap<String, Vec<i32>>, Fatal> {
    let failed =
        |error| Fatal::Unavailable(format!("asking for the members of `{group}`: {error}"));
    let client: BaseConsumer = options::reader(kafka).create().map_err(failed)?;
    let groups = client.fetch_group_list(Some(group), TIMEOUT).map_err(failed)?;
    let members = groups.groups().iter().flat_map(|group| group.members());
    let mut owners = BTreeMap::<_, Vec<i32>>::new();
    for member in members {
        let partitions = member.assignment().and_then(assigned).unwrap_or_default();
        if !partitions.is_empty() {
            owners.entry(member.client_id().to_owned()).or_default().extend(partitions);
        }
    }
    Ok(owners)
}

/// The partitions in a `ConsumerProtocolAssignment`: a version, then topics, each with its name
/// and partitions; lengths before what they count, big endian.
fn assigned(mut bytes: &[u8]) -> Option<Vec<i32>> {
    let bytes = &mut bytes;
    let _version = take::<2>(bytes)?;
    let topics = i32::from_be_bytes(take(bytes)?);
    let mut partitions = Vec::new();
    for _ in 0..topics {
        let name = usize::try_from(i16::from_be_bytes(take(bytes)?)).ok()?;
        *bytes = bytes.get(name..)?;
        let count = i32::from_be_bytes(take(bytes)?);
        for _ in 0..count {
            partitions.push(i32::from_be_bytes(take(bytes)?));
        }
    }
    Some(partitions)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_a_cut_one_is_not() {
        let bytes = [
            &[0, 1][..],               // version
            &[0, 0, 0, 1],             // one topic
            &[0, 3, b'f', b'o', b'o'], // its name
            &[0, 0, 0, 2],             // two partitions
            &[0, 0, 0, 1],
            &[0, 0, 0, 3],
            &[255, 255, 255, 255], // no user data
        ]
        .concat();
        assert_eq!(assigned(&bytes), Some(vec![1, 3]));
        assert_eq!(assigned(&bytes[..20]), None);
        assert_eq!(assigned(&[]), None);
    }
}

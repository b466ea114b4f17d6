//! What librdkafka's statistics tell of a member of a group.
//!
//! Format: librdkafka's STATISTICS.md.

use std::collections::HashMap;

use serde::Deserialize;

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow, default)]
    brokers: HashMap<&'a str, Broker<'a>>,
    #[serde(borrow)]
    cgrp: Option<Group<'a>>,
}

#[derive(Deserialize)]
struct Broker<'a> {
    /// −1: it is known by its address alone.
    nodeid: i32,
    state: &'a str,
}

#[derive(Deserialize)]
struct Group<'a> {
    /// Of the connection with the group's coordinator.
    state: &'a str,
    join_state: &'a str,
}

/// Where a member is that is not in its group although a broker can be reached, in librdkafka's words.
/// `is_assigned_by_brokers` (KIP-848): one without partitions stays at "init" then.
pub fn adrift(statistics: &[u8], is_assigned_by_brokers: bool) -> Option<String> {
    let Statistics { brokers, cgrp } = serde_json::from_slice(statistics).ok()?;
    let Group { state, join_state } = cgrp?;
    let is_steady = join_state == "steady" || (is_assigned_by_brokers && join_state == "init");
    let is_member = state == "up" && is_steady;
    let is_reached = brokers.values().any(|it| it.nodeid >= 0 && it.state == "UP");
    (is_reached && !is_member).then(|| format!("{state}, {join_state}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(broker: &str, state: &str, join_state: &str) -> Option<String> {
        let statistics = format!(
            r#"{{ "name": "rdkafka#consumer-1", "brokers": {{
                "GroupCoordinator": {{ "name": "GroupCoordinator", "nodeid": -1, "state": "UP", "stateage": 7 }},
                "k:1/2": {{ "name": "k:1/2", "nodeid": 2, "state": "{broker}" }} }}, "topics": {{}},
                "cgrp": {{ "state": "{state}", "stateage": 9, "join_state": "{join_state}", "assignment_size": 0 }} }}"#
        );
        let [ours, brokers] = [false, true].map(|it| adrift(statistics.as_bytes(), it));
        assert!(ours == brokers || join_state == "init");
        ours
    }

    #[test]
    fn who_is_not_in_its_group_while_a_broker_can_be_reached_is_adrift() {
        assert_eq!(told("UP", "up", "steady"), None);
        assert_eq!(told("UP", "wait-coord", "init").as_deref(), Some("wait-coord, init"));
        assert_eq!(told("UP", "up", "wait-join").as_deref(), Some("up, wait-join"));
        assert_eq!(told("UP", "up", "init").as_deref(), Some("up, init"));
        // An outage says nothing about the member.
        assert_eq!(told("CONNECT", "query-coord", "init"), None);
        // No member of any group; and what cannot be read.
        assert_eq!(adrift(br#"{ "brokers": {} }"#, false), None);
        assert_eq!(adrift(b"{", false), None);
    }
}

//! What the registry makes of logs, by example and by chance.

use proptest::prelude::*;

use super::*;

const MODEL: &str = "m";

fn complete(version: &str, rollout: Rollout) -> Message {
    Message::RetrainComplete {
        model: MODEL.into(),
        version: version.into(),
        uri: format!("/models/{version}"),
        digest: format!("sha256:{version}"),
        rollout,
        promote_when: None,
    }
}

fn promote(version: &str) -> Message {
    promote_over(version, None)
}

fn promote_over(version: &str, from: Option<&str>) -> Message {
    let (version, from) = (version.into(), from.map(Into::into));
    Message::Promote { model: MODEL.into(), version, from, reason: None }
}

fn back(from: &str, to: Option<&str>) -> Message {
    let (from, to) = (from.into(), to.map(Into::into));
    Message::Rollback { model: MODEL.into(), from, to, reason: None }
}

fn configured(version: Option<&str>) -> Option<Configured> {
    version
        .map(|version| Configured { version: version.into(), digest: format!("sha256:{version}") })
}

fn fold(configured: Option<&str>, log: &[Message]) -> Registry {
    let mut registry = Registry::new(MODEL, self::configured(configured).as_ref());
    for (offset, message) in log.iter().enumerate() {
        let _ = registry.apply(offset as i64, message);
    }
    registry
}

/// Version and control offset of what shall serve after `log`.
#[track_caller]
fn check(configured: Option<&str>, log: &[Message], expect: Option<(&str, Option<i64>)>) {
    let registry = fold(configured, log);
    let wanted = registry.wanted().next().map(|wanted| (wanted.version, wanted.control_offset));
    assert_eq!(wanted, expect);
}

use Rollout::{Hold, Immediate, Shadow};

#[test]
fn the_configured_version_serves_until_one_is_announced() {
    check(None, &[], None);
    check(Some("1"), &[], Some(("1", None)));
    check(Some("1"), &[complete("2", Immediate)], Some(("2", Some(0))));
}

#[test]
fn a_version_on_hold_waits_for_promote() {
    check(Some("1"), &[complete("2", Hold)], Some(("1", None)));
    check(Some("1"), &[complete("2", Shadow), promote("2")], Some(("2", Some(1))));
    check(Some("1"), &[promote("2")], Some(("1", None)));
}

#[test]
fn a_promotion_over_a_version_is_void_once_another_serves() {
    let log = [complete("2", Shadow), complete("3", Immediate), promote_over("2", Some("1"))];
    check(Some("1"), &log, Some(("3", Some(1))));
    let log = [log.as_slice(), &[promote_over("2", Some("3"))]].concat();
    check(Some("1"), &log, Some(("2", Some(3))));
}

#[test]
fn a_candidate_can_be_withdrawn() {
    let log = [complete("2", Shadow), back("2", None), promote("2")];
    check(Some("1"), &log, Some(("1", None)));
    assert_eq!(fold(Some("1"), &log).candidates().count(), 0);
    // Rolled back and announced again, it waits again.
    let log = [complete("2", Immediate), back("2", None), complete("2", Shadow)];
    let registry = fold(Some("1"), &log);
    assert_eq!(registry.candidates().map(|c| c.version).collect::<Vec<_>>(), ["2"]);
    assert_eq!(registry.wanted().next().map(|w| (w.version, w.is_return)), Some(("1", true)));
}

#[test]
fn the_last_shadow_announced_is_the_one_that_scores() {
    let shadow = |log: &[Message]| {
        fold(Some("1"), log).shadow().map(|s| (s.version.to_owned(), s.control_offset))
    };
    let log = [complete("3", Shadow), complete("2", Shadow), complete("4", Hold)];
    assert_eq!(shadow(&log), Some(("2".into(), 1)));
    assert_eq!(shadow(&[log.as_slice(), &[promote("2")]].concat()), Some(("3".into(), 0)));
    assert_eq!(shadow(&[log.as_slice(), &[back("2", None)]].concat()), Some(("3".into(), 0)));
    assert_eq!(shadow(&[complete("1", Shadow)]), None);
}

#[test]
fn rollback_goes_to_what_served_before_and_can_be_said_twice() {
    let log =
        [complete("2", Immediate), complete("3", Immediate), back("3", None), back("3", None)];
    check(Some("1"), &log, Some(("2", Some(2))));
    let log = [log.as_slice(), &[back("2", None)]].concat();
    check(Some("1"), &log, Some(("1", Some(4))));
    let log = [log.as_slice(), &[back("1", None)]].concat();
    check(Some("1"), &log, Some(("1", Some(4)))); // nothing before it
}

#[test]
fn rollback_to_a_named_version() {
    let log = [complete("2", Immediate), complete("3", Immediate), back("3", Some("1"))];
    check(Some("1"), &log, Some(("1", Some(2))));
    let log = [complete("2", Immediate), back("2", Some("9"))];
    check(Some("1"), &log, Some(("2", Some(0)))); // 9 is unknown
}

#[test]
fn a_version_rolled_back_serves_again_only_when_announced_again() {
    let log = [complete("2", Immediate), back("2", None), promote("2")];
    check(Some("1"), &log, Some(("1", Some(1))));
    let log = [log.as_slice(), &[complete("2", Immediate)]].concat();
    check(Some("1"), &log, Some(("2", Some(3))));
}

#[test]
fn a_version_never_changes() {
    let mut registry = fold(None, &[complete("2", Immediate)]);
    let before = registry.clone();
    let mut other = complete("2", Immediate);
    if let Message::RetrainComplete { digest, .. } = &mut other {
        *digest = "sha256:other".into();
    }
    assert_eq!(registry.apply(1, &other), Err(Contradiction::OtherDigest("2".into())));
    assert_eq!(registry, before);
}

#[test]
fn the_configured_version_never_changes_either() {
    let mut registry = fold(Some("2"), &[]);
    let mut other = complete("2", Hold);
    if let Message::RetrainComplete { digest, .. } = &mut other {
        *digest = "sha256:other".into();
    }
    assert_eq!(registry.apply(0, &other), Err(Contradiction::OtherDigest("2".into())));
    // Announced as it is, it stays at hand.
    assert_eq!(registry.apply(1, &complete("2", Immediate)), Ok(Effect::Nothing));
    assert_eq!(registry.source("2"), Some(&Source::Configured { digest: "sha256:2".into() }));
}

#[test]
fn what_waits_is_nobodys_fallback() {
    let log = [complete("2", Immediate), back("2", None), complete("2", Shadow), back("1", None)];
    check(Some("1"), &log, Some(("1", Some(1)))); // 2 waits; there is nothing before 1
    let registry = fold(Some("1"), &log);
    assert_eq!(registry.wanted().map(|wanted| wanted.version).collect::<Vec<_>>(), ["1"]);
}

#[test]
fn those_that_served_before_stand_by() {
    let registry = fold(Some("1"), &[complete("2", Immediate), complete("3", Immediate)]);
    let versions: Vec<_> = registry.wanted().map(|wanted| wanted.version).collect();
    assert_eq!(versions, ["3", "2", "1"]);
}

fn any_message() -> impl Strategy<Value = Message> {
    let version = || prop::sample::select(vec!["1", "2", "3", "4"]);
    let rollout = prop::sample::select(vec![Immediate, Hold, Shadow]);
    prop_oneof![
        (version(), rollout).prop_map(|(version, rollout)| complete(version, rollout)),
        version().prop_map(promote),
        (version(), prop::option::of(version())).prop_map(|(from, to)| back(from, to)),
        (version(), version()).prop_map(|(version, from)| promote_over(version, Some(from))),
        Just(Message::Promote {
            model: "another".into(),
            version: "1".into(),
            from: None,
            reason: None
        }),
        Just(Message::RetrainRequest { model: MODEL.into(), reason: None }),
    ]
}

proptest! {
    #[test]
    fn a_refused_message_changes_nothing(log in prop::collection::vec(any_message(), 0..40)) {
        let mut registry = Registry::new(MODEL, configured(Some("1")).as_ref());
        for (offset, message) in log.iter().enumerate() {
            let before = registry.clone();
            if registry.apply(offset as i64, message).is_err() {
                prop_assert_eq!(&registry, &before);
            }
        }
    }

    #[test]
    fn something_goes_on_serving(log in prop::collection::vec(any_message(), 0..40)) {
        let registry = fold(Some("1"), &log);
        prop_assert!(registry.wanted().next().is_some());
    }

    #[test]
    fn what_serves_names_the_message_that_chose_it(log in prop::collection::vec(any_message(), 0..40)) {
        let registry = fold(None, &log);
        if let Some(wanted) = registry.wanted().next() {
            let offset = wanted.control_offset.expect("nothing was configured") as usize;
            prop_assert_eq!(log[offset].model(), MODEL);
            // Read to just that message, the same version is wanted.
            let then = fold(None, &log[..=offset]);
            prop_assert_eq!(then.wanted().next().map(|w| w.version), Some(wanted.version));
        }
    }

    /// Whatever was said before: from the announcement that lets a version wait, it is not among
    /// those that may serve until `promote` names it or it is announced to serve.
    #[test]
    fn what_waits_does_not_serve(log in prop::collection::vec(any_message(), 0..40)) {
        let registry = fold(Some("1"), &log);
        for candidate in registry.candidates() {
            prop_assert!(registry.wanted().all(|wanted| wanted.version != candidate.version));
        }
    }

    #[test]
    fn what_is_said_of_others_changes_nothing(log in prop::collection::vec(any_message(), 0..40)) {
        let (ours, others): (Vec<_>, Vec<_>) =
            log.into_iter().partition(|message| message.model() == MODEL);
        let alone = fold(Some("1"), &ours);
        let mut registry = Registry::new(MODEL, configured(Some("1")).as_ref());
        for (offset, message) in ours.iter().enumerate() {
            let _ = registry.apply(offset as i64, message);
            for other in &others {
                prop_assert_eq!(registry.apply(offset as i64, other), Ok(Effect::Nothing));
            }
        }
        prop_assert_eq!(registry, alone);
    }

    /// What is compacted away or deleted was never said: whatever is left of a log, something
    /// serves, and it names a message that is there.
    #[test]
    fn what_is_left_of_a_log_does_no_harm(
        log in prop::collection::vec((any_message(), any::<bool>()), 0..40),
    ) {
        let mut registry = Registry::new(MODEL, configured(Some("1")).as_ref());
        let mut there = vec![None];
        for (offset, (message, _)) in log.iter().enumerate().filter(|(_, (_, kept))| *kept) {
            let _ = registry.apply(offset as i64, message);
            there.push(Some(offset as i64));
        }
        let wanted = registry.wanted().next();
        prop_assert!(wanted.is_some_and(|wanted| there.contains(&wanted.control_offset)));
    }

    #[test]
    fn saying_a_rollback_twice_is_saying_it_once(log in prop::collection::vec(any_message(), 0..20)) {
        let mut registry = fold(Some("1"), &log);
        let from = registry.current().unwrap().to_owned();
        let message = back(&from, None);
        if registry.apply(100, &message) == Ok(Effect::Serves) {
            let once = registry.clone();
            prop_assert_eq!(registry.apply(101, &message), Ok(Effect::Nothing));
            prop_assert_eq!(registry, once);
        }
    }
}

//! Joined by hand, and in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn said(id: &str, version: &str, value: f64) -> Prediction {
    Prediction {
        id: id.into(),
        model: "m".into(),
        version: version.into(),
        control_offset: None,
        said: Said::Value(value),
        names: Vec::new(),
    }
}

fn told(id: &str, label: impl Into<Option<f64>>) -> Told {
    Told { id: id.into(), label: label.into().map(Label::Number) }
}

/// The pairs as version, value and label, sorted.
fn pairs(window: &Window) -> Vec<(String, f64, f64)> {
    let pair = |Pair { version, said, label, .. }: Pair<'_>| match (said, label) {
        (Said::Value(value), Label::Number(label)) => (version.to_owned(), *value, *label),
        other => panic!("{other:?}"),
    };
    let mut pairs: Vec<_> = window.pairs().map(pair).collect();
    pairs.sort_by(|a, b| a.partial_cmp(b).unwrap());
    pairs
}

#[test]
fn either_side_may_come_first_and_the_last_one_counts() {
    let mut window = Window::new(10);
    window.predicted(0, 5, said("a", "1", 1.0)).unwrap();
    window.labelled(0, 9, told("a", 10.0));
    window.labelled(0, 9, told("b", 20.0));
    window.predicted(0, 6, said("b", "1", 2.0)).unwrap();
    // Another partition's ids are others.
    window.labelled(1, 9, told("c", 30.0));
    window.predicted(0, 6, said("c", "1", 3.0)).unwrap();
    assert_eq!(pairs(&window), [("1".into(), 1.0, 10.0), ("1".into(), 2.0, 20.0)]);
    assert_eq!(window.held(), Held { pairs: 2, predictions: 1, labels: 1 });
    // Corrected, scored again, taken back.
    window.labelled(0, 9, told("a", 11.0));
    window.predicted(0, 5, said("a", "2", 1.5)).unwrap();
    window.labelled(0, 9, told("b", None));
    window.labelled(0, 9, told("nobody", None));
    assert_eq!(pairs(&window), [("2".into(), 1.5, 11.0)]);
    assert_eq!(window.held(), Held { pairs: 1, predictions: 2, labels: 1 });
    window.forget(1);
    assert_eq!(window.held(), Held { pairs: 1, predictions: 2, labels: 0 });
    window.tidy();
    assert!(window.known("1").is_some() && window.known("2").is_some());
    window.forget(0);
    window.tidy();
    assert!(window.known("1").is_none() && window.order.is_empty());
}

#[test]
fn what_is_too_old_leaves_and_is_counted_by_the_side_that_was_alone() {
    let mut window = Window::new(10);
    window.predicted(0, 5, said("a", "1", 1.0)).unwrap();
    window.labelled(0, 50, told("a", 1.0));
    window.predicted(0, 6, said("b", "1", 1.0)).unwrap();
    window.labelled(0, 7, told("c", 1.0));
    window.predicted(0, 8, said("d", "1", 1.0)).unwrap();
    window.advance(8);
    assert_eq!(window.take_dropped(), Dropped { predictions: 1, labels: 1, evicted: 0 });
    assert_eq!(window.held(), Held { predictions: 1, ..Held::default() });
    // What comes too late.
    window.predicted(0, 7, said("e", "1", 1.0)).unwrap();
    window.labelled(0, 7, told("d", 1.0));
    window.labelled(0, 7, told("d", None));
    assert_eq!(window.take_dropped(), Dropped { predictions: 1, labels: 1, evicted: 0 });
    // Time does not go back.
    window.advance(3);
    window.labelled(0, 7, told("d", 1.0));
    assert_eq!(window.held(), Held { predictions: 1, ..Held::default() });
}

#[test]
fn a_label_that_was_sent_by_another_partitioner_is_found() {
    let mut window = Window::new(10);
    window.labelled(0, 1, told("a", 1.0));
    window.labelled(1, 1, told("b", 1.0));
    window.predicted(1, 1, said("b", "1", 1.0)).unwrap();
    assert_eq!(window.stray(), None);
    window.predicted(2, 1, said("a", "1", 1.0)).unwrap();
    assert_eq!(window.stray(), Some(("a", 0, 2)));
    window.predicted(0, 1, said("a", "1", 1.0)).unwrap();
    assert_eq!(window.stray(), None);
}

#[test]
fn of_too_many_the_oldest_goes() {
    let mut window = Window::new(3);
    for (time, id) in [(3, "c"), (1, "a"), (2, "b"), (4, "d")] {
        window.predicted(0, time, said(id, "1", 1.0)).unwrap();
        window.labelled(1, time, told(id, 1.0));
    }
    assert_eq!(window.held(), Held { pairs: 0, predictions: 1, labels: 2 });
    assert_eq!(window.take_dropped().evicted, 5);
    let kept: Vec<_> = window.order.keys().map(|(time, _)| *time).collect();
    assert_eq!(kept, [3, 4, 4]);
}

#[test]
fn a_version_that_contradicts_itself_is_not_believed() {
    let mut window = Window::new(10);
    let named = |class: usize, name: &str| Prediction {
        said: Said::Binary { class, probability: 0.5 },
        names: vec![(class, name.into())],
        ..said("a", "1", 0.0)
    };
    window.predicted(0, 1, named(1, "late")).unwrap();
    window.predicted(0, 1, named(0, "on_time")).unwrap();
    let names = ["on_time", "late"].map(|name| Some(name.to_owned()));
    assert_eq!(window.known("1").unwrap().names, names);
    assert!(window.predicted(0, 1, named(1, "early")).unwrap_err().contains("was `late`"));
    assert!(window.predicted(0, 1, said("a", "1", 0.5)).unwrap_err().contains("another kind"));
}

/// A record of one of the two topics.
#[derive(Debug, Clone)]
enum Record {
    Prediction(u8, u8, i64),
    Label(u8, Option<u8>, i64),
}

fn take(window: &mut Window, number: usize, record: &Record) {
    match record {
        Record::Prediction(id, version, time) => {
            let said = said(&id.to_string(), &version.to_string(), number as f64);
            window.predicted(0, *time, said).unwrap();
        }
        Record::Label(id, label, time) => {
            window.labelled(0, *time, told(&id.to_string(), label.map(f64::from)));
        }
    }
}

prop_compose! {
    fn prediction()(id in 0_u8..12, version in 0_u8..3, time in 0_i64..100) -> Record {
        Record::Prediction(id, version, time)
    }
}

prop_compose! {
    fn label()(id in 0_u8..12, label in proptest::option::weighted(0.9, 0_u8..9), time in 0_i64..100) -> Record {
        Record::Label(id, label, time)
    }
}

proptest! {
    /// Each topic has its order; how the two are read into each other makes no difference.
    #[test]
    fn any_interleaving_gives_the_same_pairs(
        predictions in proptest::collection::vec(prediction(), 0..40),
        labels in proptest::collection::vec(label(), 0..40),
        choices in proptest::collection::vec(any::<bool>(), 80),
        horizon in 0_i64..50,
    ) {
        let numbered: Vec<_> = predictions.iter().enumerate().collect();
        let run = |choices: &[bool]| {
            let mut window = Window::new(100);
            window.advance(horizon);
            let (mut left, mut right) = (numbered.iter(), labels.iter());
            for choice in choices {
                let next = if *choice { left.next().copied() } else { right.next().map(|it| (0, it)) };
                if let Some((number, record)) = next {
                    take(&mut window, number, record);
                }
            }
            left.for_each(|(number, record)| take(&mut window, *number, record));
            right.for_each(|record| take(&mut window, 0, record));
            window
        };
        // What it should be: the last of each, of those that are young enough.
        let mut last_said: BTreeMap<u8, (u8, f64)> = BTreeMap::new();
        for (number, record) in &numbered {
            if let Record::Prediction(id, version, time) = record && *time >= horizon {
                last_said.insert(*id, (*version, *number as f64));
            }
        }
        let mut last_told: BTreeMap<u8, Option<f64>> = BTreeMap::new();
        for record in &labels {
            if let Record::Label(id, label, time) = record && *time >= horizon {
                last_told.insert(*id, label.map(f64::from));
            }
        }
        let mut expect: Vec<_> = last_said.iter()
            .filter_map(|(id, (version, value))| {
                Some((version.to_string(), *value, last_told.get(id).copied().flatten()?))
            })
            .collect();
        expect.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let window = run(&choices);
        prop_assert_eq!(pairs(&window), expect.clone());
        prop_assert_eq!(pairs(&run(&[])), expect);
        // Every row stands in the order once.
        prop_assert_eq!(window.order.len(), window.partitions.values().map(HashMap::len).sum::<usize>());
    }

    /// However many there are, no more are held, and each that went was counted.
    #[test]
    fn rows_are_bounded(
        records in proptest::collection::vec(prop_oneof![prediction(), label()], 0..80),
        rows_max in 1_usize..8,
    ) {
        let mut window = Window::new(rows_max);
        for (number, record) in records.iter().enumerate() {
            take(&mut window, number, record);
            prop_assert!(window.order.len() <= rows_max);
        }
        let rows = window.partitions.values().map(HashMap::len).sum::<usize>();
        prop_assert_eq!(window.order.len(), rows);
        window.advance(100);
        prop_assert_eq!(window.held(), Held::default());
    }
}

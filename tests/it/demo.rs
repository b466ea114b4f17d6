//! The tour, as whoever types `make demo` takes it.

use crate::program::{foretell, stderr};

#[test]
fn the_tour_loses_nothing_and_closes_the_loop() {
    let tour = foretell().args(["demo", "--events", "2000"]).output().expect("foretell can be run");
    let told = String::from_utf8_lossy(&tour.stdout);
    // Long lines are wrapped.
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(tour.status.success(), "{told}\n{}", stderr(&tour));
    // Two versions that it brings along, and one that was trained on what came after the release.
    for chapter in [
        "Half-way: version 2 is ready",
        "A release upstream",
        "The alarm",
        "\"drift: `departure_delay` PSI",
        "announced as its shadow",
        "an instance promotes it",
        "The loop has closed",
        "after it, retrained",
    ] {
        assert!(told.contains(chapter), "expected `{chapter}` in:\n{told}");
    }
}

//! Before the tour: who takes part, and where to look oneself.

use std::io;

use indicatif::HumanCount;

use super::screen;
use super::tour::Tour;

const MODEL: &str = "late-arrival, version 1: LightGBM, trained on January to June 2013. Will this flight arrive 15 or more minutes late?";

/// Who takes part.
pub fn print(tour: &Tour) -> io::Result<()> {
    let Tour { screen, plan, stage, .. } = tour;
    screen.heading("foretell: a topic of events becomes a topic of predictions")?;
    let mut table = screen::plain_table();
    for (title, text) in stage.introduction() {
        table.add_row([title, text.as_str()]);
    }
    let events = format!(
        "{} real departures from New York in December 2013, {} a second, and {} broken events among them.",
        HumanCount(plan.flights),
        HumanCount(plan.rate),
        plan.faults(),
    );
    table.add_row(["events", events.as_str()]);
    table.add_row(["model", MODEL]);
    for (title, address) in addresses(tour) {
        table.add_row([title.to_owned(), address]);
    }
    screen.table(&table)
}

/// After the tour, if it goes on.
pub fn print_again(tour: &Tour) -> io::Result<()> {
    tour.screen.heading("Going on until Ctrl-C")?;
    let mut table = screen::plain_table();
    for (title, address) in addresses(tour) {
        table.add_row([title.to_owned(), address]);
    }
    tour.screen.table(&table)?;
    tour.screen.line("")
}

fn addresses(tour: &Tour) -> Vec<(&'static str, String)> {
    let config = tour.stage.config();
    let brokers = &config.kafka.bootstrap_servers;
    let kcat = format!("kcat -C -b {brokers} -t {}", config.topics.predictions);
    let pages = tour.stage.addresses().into_iter().map(|page| ("", format!("http://{page}/")));
    std::iter::once(("look", kcat)).chain(pages).collect()
}

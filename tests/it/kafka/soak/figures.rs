//! What was seen of the instances by the minute, and what it says of all of it.

use std::fmt;
use std::ops::RangeInclusive;

use hdrhistogram::Histogram;

use super::vitals::Vitals;

/// The first minute fills caches and pools.
const WARM_UP_MINUTES: usize = 1;

/// One minute: what the instances held at each second, and how late predictions were.
pub struct Minute {
    pub looks: Vec<Vec<Vitals>>,
    pub latency_ms: Histogram<u64>,
}

impl Default for Minute {
    fn default() -> Self {
        Self { looks: Vec::new(), latency_ms: histogram() }
    }
}

/// Up to ten minutes; what is later counts as that.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000, 3).expect("three digits")
}

#[derive(Default)]
pub struct Figures {
    minutes: Vec<Minute>,
}

impl Figures {
    pub const HEADER: &str =
        "minute   p50 ms   p99 ms   max ms   MB (of each)     files    threads";

    /// Takes a minute, and shows it.
    pub fn add(&mut self, minute: Minute) {
        let latency = &minute.latency_ms;
        let [p50, p99] = [0.5, 0.99].map(|quantile| latency.value_at_quantile(quantile));
        let last = minute.looks.last().cloned().unwrap_or_default();
        let megabytes: Vec<_> =
            last.iter().map(|vitals| format!("{:.1}", vitals.rss_kb as f64 / 1024.0)).collect();
        let [files, threads] = FIELDS.map(|(_, field)| extremes(&minute, field));
        println!(
            "{:6} {p50:8} {p99:8} {:8}   {:14} {:>4}–{:<4} {:>4}–{}",
            self.minutes.len() + 1,
            latency.max(),
            megabytes.join(" "),
            files.start(),
            files.end(),
            threads.start(),
            threads.end(),
        );
        self.minutes.push(minute);
    }

    /// Threads come and go with what is fetched, and files with connections: something is held for good
    /// when the least of the last minute is more than the most of the first one after the warm-up.
    #[track_caller]
    pub fn have_not_grown(&self) {
        let (Some(first), Some(last)) = (self.minutes.get(WARM_UP_MINUTES), self.minutes.last())
        else {
            panic!("expected more than {WARM_UP_MINUTES} minutes");
        };
        for (name, field) in FIELDS {
            let [before, after] = [first, last].map(|minute| extremes(minute, field));
            assert!(
                after.start() <= before.end(),
                "expected no more {name} than at first, which were {before:?}, but got {after:?}"
            );
        }
    }
}

type Field = fn(&Vitals) -> u64;
const FIELDS: [(&str, Field); 2] =
    [("file descriptors", |vitals| vitals.files), ("threads", |vitals| vitals.threads)];

/// The least and the most that an instance had.
fn extremes(minute: &Minute, field: Field) -> RangeInclusive<u64> {
    let values = || minute.looks.iter().flatten().map(field);
    values().min().unwrap_or_default()..=values().max().unwrap_or_default()
}

/// By least squares, how much `values`, a second apart, grow an hour.
fn slope_an_hour(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        let from_mean = x as f64 - mean_x;
        above += from_mean * (y - mean_y);
        below += from_mean * from_mean;
    }
    if below == 0.0 { 0.0 } else { 3600.0 * above / below }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warm = || self.minutes.iter().skip(WARM_UP_MINUTES);
        let looks: Vec<&Vec<Vitals>> = warm().flat_map(|minute| &minute.looks).collect();
        for index in 0..looks.first().map_or(0, |look| look.len()) {
            let megabytes: Vec<f64> =
                looks.iter().map(|look| look[index].rss_kb as f64 / 1024.0).collect();
            let (first, last) = (megabytes.first(), megabytes.last());
            writeln!(
                f,
                "instance {index}: {:.1} MB after the first minute, {:.1} at the end, {:+.2} MB/h",
                first.copied().unwrap_or_default(),
                last.copied().unwrap_or_default(),
                slope_an_hour(&megabytes),
            )?;
        }
        let mut all = histogram();
        for minute in warm() {
            all.add(&minute.latency_ms).expect("histograms of one kind");
        }
        let [p50, p99] = [0.5, 0.99].map(|quantile| all.value_at_quantile(quantile));
        writeln!(f, "latency from event to committed reader: p50 {p50} ms, p99 {p99} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_prediction_counts_as_late_as_it_is() {
        let mut minute = Minute::default();
        minute.latency_ms.saturating_record(9_000);
        assert!(minute.latency_ms.max() >= 9_000, "{}", minute.latency_ms.max());
    }

    fn minute(threads: &[u64]) -> Minute {
        let look = |&threads: &u64| vec![Vitals { rss_kb: 1024, threads, files: 9 }];
        Minute { looks: threads.iter().map(look).collect(), ..Minute::default() }
    }

    #[test]
    fn the_slope_is_that_of_a_line() {
        assert_eq!(slope_an_hour(&[1.0, 2.0, 3.0]), 3600.0);
        assert_eq!(slope_an_hour(&[5.0, 5.0, 5.0]), 0.0);
        assert_eq!(slope_an_hour(&[5.0]), 0.0);
    }

    #[test]
    fn threads_that_come_and_go_have_not_grown() {
        let minutes = [&[1, 2][..], &[8, 10, 9], &[8, 12, 10]].map(minute).into();
        Figures { minutes }.have_not_grown();
    }

    #[test]
    #[should_panic(expected = "threads")]
    fn threads_that_stay_have_grown() {
        let minutes = [&[1, 2][..], &[8, 10, 9], &[11, 12, 11]].map(minute).into();
        Figures { minutes }.have_not_grown();
    }
}

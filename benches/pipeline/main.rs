//! The whole way on a real broker: `foretell run` beside a raw transactional copier.
//!
//! Both start on the same million events, in alternating order, each in its own process, and are
//! done when their group has committed the last offset. What counts is the ratio of one run: the
//! machine's noise and the broker's share of its cores are in both.

mod copier;
mod latency;
mod reload;
mod stage;

use std::process::ExitCode;

use stage::{PARTITIONS, Stage};

/// Events of the backlog, unless `FORETELL_BENCH_EVENTS` says otherwise.
const EVENTS: u64 = 1_000_000;
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        // The copier's own process, started by `throughput`.
        Some("copier") => copier::run(&arguments[2], &arguments[3], &arguments[4]),
        _ => bench(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `cargo bench --bench pipeline -- latency`, `-- throughput` or `-- reload` measures one of the three.
fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let asked = |what: &str| arguments.iter().any(|argument| argument == what);
    let all = !["throughput", "latency", "reload"].iter().any(|what| asked(what));
    let events = std::env::var("FORETELL_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let stage = Stage::set(events.unwrap_or(EVENTS))?;
    if all || asked("throughput") {
        throughput(&stage)?;
    }
    if all || asked("latency") {
        let small = "the flights model";
        latency::measure(&stage, 4, small, &[], |_, _| Ok(()))?;
        latency::measure(&stage, PARTITIONS, small, &[], |_, _| Ok(()))?;
    }
    if all || asked("reload") {
        reload::latency(&stage)?;
        reload::memory(&stage)?;
    }
    Ok(())
}

fn throughput(stage: &Stage) -> anyhow::Result<()> {
    println!(
        "{} events of {:.0} bytes, 12 partitions in and out, lz4, exactly once",
        stage.events, stage.bytes
    );
    println!("{:>10} {:>12} {:>14} {:>10}", "", "events/s", "client CPU-s/M", "max RSS MB");
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let copier = stage.drain(round, "copier", Stage::copier)?;
        let foretell = stage.drain(round, "foretell", Stage::foretell)?;
        copier.print("copier");
        foretell.print("foretell");
        ratios.push(foretell.events_per_second / copier.events_per_second);
        println!("{:>10} {:>12.2}", "ratio", ratios[round]);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} (goal of this release: at least 0.5)\n", ratios[ROUNDS / 2]);
    Ok(())
}

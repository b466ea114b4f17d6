//! What a process holds, as Linux tells it.

use std::fs;

/// Of one process, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vitals {
    /// Resident memory.
    pub rss_kb: u64,
    pub threads: u64,
    /// Open file descriptors.
    pub files: u64,
}

impl Vitals {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.expect("an instance that lives has a status");
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("an instance is ours").count();
        Self {
            rss_kb: field(&status, "VmRSS:"),
            threads: field(&status, "Threads:"),
            files: files as u64,
        }
    }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("expected {name} in {status}"))
}

#[test]
fn the_vitals_of_this_process_are_read() {
    let vitals = Vitals::of(std::process::id());
    assert!(vitals.rss_kb > 0 && vitals.threads > 0 && vitals.files > 0, "{vitals:?}");
}

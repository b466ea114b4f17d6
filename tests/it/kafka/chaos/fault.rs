//! The kinds of harm, and in which order a run does it.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of an instance; another is started after a while.
    Kill,
    /// SIGTERM to an instance; another is started after a while.
    Terminate,
    /// SIGSTOP for longer than session and transaction last, then SIGCONT: a zombie.
    Freeze,
    /// Three instances join at once, and leave at once after a while.
    Storm,
    /// The second broker is stopped for 5 s.
    BrokerStop,
    /// The same for 60 s.
    BrokerAway,
    /// kill -9 of the second broker; it is started again after a while, but not before it was missed.
    BrokerKill,
    /// A new version is announced.
    Announce,
    /// The version that serves is rolled back.
    Rollback,
}

use Fault::{
    Announce, BrokerAway, BrokerKill, BrokerStop, Freeze, Kill, Rollback, Storm, Terminate,
};

/// What comes how often.
const TWENTY: [Fault; 20] = [
    Kill, Freeze, Announce, BrokerStop, Storm, Kill, Terminate, Freeze, Announce, BrokerKill, Kill,
    Storm, Rollback, Freeze, Kill, Announce, BrokerStop, Terminate, Rollback, BrokerKill,
];
/// In place of the shorter one, once in so many faults.
const AWAY_ONCE_IN: usize = 50;

impl Fault {
    pub const ALL: [Self; 9] =
        [Kill, Terminate, Freeze, Storm, BrokerStop, BrokerAway, BrokerKill, Announce, Rollback];

    pub fn name(self) -> &'static str {
        match self {
            Kill => "kill -9",
            Terminate => "SIGTERM",
            Freeze => "zombie",
            Storm => "join and leave",
            BrokerStop => "broker stop 5 s",
            BrokerAway => "broker stop 60 s",
            BrokerKill => "broker kill -9",
            Announce => "version announced",
            Rollback => "version rolled back",
        }
    }

    /// The fault that is called so, in whatever case: `kill`, `brokerstop`.
    pub fn by_name(name: &str) -> Self {
        let is = |fault: &Self| format!("{fault:?}").eq_ignore_ascii_case(name);
        let known = Self::ALL.into_iter().find(is);
        known.unwrap_or_else(|| panic!("{name} is no fault; there are {:?}", Self::ALL))
    }

    /// There is but one broker that may be harmed.
    pub fn is_brokers(self) -> bool {
        matches!(self, BrokerStop | BrokerAway | BrokerKill)
    }

    /// How long it stays before it is mended.
    pub fn lasts(self, rng: &mut fastrand::Rng, time_outs: Duration) -> Duration {
        let between =
            |rng: &mut fastrand::Rng, from: u64, to: u64| Duration::from_millis(rng.u64(from..=to));
        match self {
            Kill | Terminate => between(rng, 500, 8_000),
            Freeze => time_outs + between(rng, 500, 3_000),
            Storm => between(rng, 500, 4_000),
            BrokerStop => Duration::from_secs(5),
            BrokerAway => Duration::from_secs(60),
            BrokerKill => between(rng, 0, 8_000),
            Announce | Rollback => Duration::ZERO,
        }
    }
}

/// The faults of a run in their order: all kinds in their proportion, or some kinds only.
pub fn deck(rng: &mut fastrand::Rng, count: usize, only: &[Fault]) -> Vec<Fault> {
    if !only.is_empty() {
        return only.iter().copied().cycle().take(count).collect();
    }
    let mut deck: Vec<_> = TWENTY.into_iter().cycle().take(count).collect();
    let stops = deck.iter_mut().filter(|fault| **fault == BrokerStop);
    for stop in stops.take(count / AWAY_ONCE_IN) {
        *stop = BrokerAway;
    }
    rng.shuffle(&mut deck);
    deck
}

//! What goes wrong, decided by a seed.

use std::collections::BTreeMap;

/// One way in which a step can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The group takes a live member for dead. The member hears of it later, and until then works
    /// on as a zombie, perhaps with a transaction open.
    Eviction,
    /// The group takes a partition from its owner for no reason; whoever has room gets it, perhaps
    /// the same member.
    Revocation,
    /// Records that were delivered before are delivered again (kafka-facts.md §0.4).
    SecondDelivery,
    /// The producer does not take a record.
    SendRefused,
    /// A record that was sent is not delivered.
    NotDelivered,
    /// The brokers do not say whether what was sent arrived.
    FlushUnheard,
    /// The offsets are not taken.
    OffsetsRefused,
    /// The commit is refused.
    CommitRefused,
    /// The transaction is committed, and the answer is lost.
    CommitUnheard,
    /// The request to commit is lost.
    CommitLost,
    /// The request to commit arrives after its sender has given up waiting, if ever.
    CommitLate,
    /// Whether the transaction was aborted is not said.
    AbortUnheard,
    /// Another producer takes the transactional id.
    Fencing,
    /// A new producer does not get ready.
    NoProducer,
    /// The committed offsets are not told.
    NoAnswer,
}

impl Fault {
    pub const ALL: [Self; 15] = [
        Self::Eviction,
        Self::Revocation,
        Self::SecondDelivery,
        Self::SendRefused,
        Self::NotDelivered,
        Self::FlushUnheard,
        Self::OffsetsRefused,
        Self::CommitRefused,
        Self::CommitUnheard,
        Self::CommitLost,
        Self::CommitLate,
        Self::AbortUnheard,
        Self::Fencing,
        Self::NoProducer,
        Self::NoAnswer,
    ];

    /// What a client meets when no broker answers.
    fn is_of_an_outage(self) -> bool {
        use Fault::{AbortUnheard, CommitLost, FlushUnheard, NoAnswer, NoProducer, OffsetsRefused};
        matches!(
            self,
            AbortUnheard | CommitLost | FlushUnheard | NoAnswer | NoProducer | OffsetsRefused
        )
    }

    /// How often it strikes in a run that has it, in a thousand chances. What has a chance at each
    /// step is rare, what has one a transaction is not.
    fn per_mille_max(self) -> u32 {
        match self {
            Self::Eviction | Self::Revocation => 12,
            Self::SecondDelivery | Self::SendRefused => 30,
            _ => 150,
        }
    }
}

/// What followed from faults: proof that a run came through the places it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// Collected records were forgotten with their partition.
    RowsRevoked,
    /// The same while a batch was to be sent again.
    RowsRevokedInHand,
    /// A partition came back to the member that had just let go of it.
    GivenBack,
    /// Offsets were refused: their sender did not know of a newer generation.
    StaleGeneration,
    /// Offsets were refused: their sender was no member any more.
    UnknownMember,
    /// The brokers gave up on a transaction that stood open for too long.
    TimedOut,
    /// A producer found its id taken.
    Fenced,
    /// A new producer aborted what the one before it had left open.
    AbortedAtStart,
    /// A new owner had to wait for the end of another member's transaction.
    UnstableOffset,
    /// Records in hand turned out to be settled.
    RowsFoundSettled,
    /// The commit that came late was executed after all.
    LateCommitDone,
    /// The commit that came late met a transaction that a new producer had aborted.
    LateCommitFenced,
    /// A record that was delivered twice was dropped.
    DroppedTwin,
    /// A full store of records behind a batch in hand stopped delivery.
    Paused,
    /// A member died and left a transaction open.
    DiedMidTransaction,
    /// A batch was held of which some had been sent.
    HeldMidTransaction,
    /// A member came back to life after its session had ended.
    Zombie,
    /// A batch took longer than its transaction may, and went on with half of its records.
    Halved,
}

impl Sight {
    pub const ALL: [Self; 18] = [
        Self::RowsRevoked,
        Self::RowsRevokedInHand,
        Self::GivenBack,
        Self::StaleGeneration,
        Self::UnknownMember,
        Self::TimedOut,
        Self::Fenced,
        Self::AbortedAtStart,
        Self::UnstableOffset,
        Self::RowsFoundSettled,
        Self::LateCommitDone,
        Self::LateCommitFenced,
        Self::DroppedTwin,
        Self::Paused,
        Self::DiedMidTransaction,
        Self::HeldMidTransaction,
        Self::Zombie,
        Self::Halved,
    ];
}

/// A law taken away, so that a test can see that the simulation notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// After an unknown commit, what the brokers have as settled is sent again.
    KeepsSettled,
    /// The brokers are asked what is settled while the old producer may still commit.
    AsksTooEarly,
    /// Records of a revoked partition stay in the batch.
    KeepsRevoked,
    /// A partition that comes back is read on from where it was left.
    RemembersPositions,
    /// A record that is delivered twice is taken twice.
    TakesTwins,
    /// Offsets are taken from whoever sends them.
    AnyMemberCommits,
    /// A new owner does not wait for the end of open transactions.
    ReadsUnstable,
    /// After an abort the batch is dropped.
    DropsAborted,
    /// What was sent of a batch that is held back stays sent.
    KeepsHeld,
}

impl Broken {
    pub const ALL: [Self; 9] = [
        Self::KeepsSettled,
        Self::AsksTooEarly,
        Self::KeepsRevoked,
        Self::RemembersPositions,
        Self::TakesTwins,
        Self::AnyMemberCommits,
        Self::ReadsUnstable,
        Self::DropsAborted,
        Self::KeepsHeld,
    ];
}

/// Everything that a run decides by chance, and what came of it.
#[derive(Debug)]
pub struct Faults {
    pub rng: fastrand::Rng,
    per_mille: BTreeMap<Fault, u32>,
    /// Faults that strike at their next chance, whatever the dice say.
    due: Vec<Fault>,
    /// No broker answers.
    pub brokers_are_away: bool,
    pub broken: Option<Broken>,
    pub tally: Tally,
}

/// How often what happened.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub faults: BTreeMap<Fault, u64>,
    pub sights: BTreeMap<Sight, u64>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (sight, count) in &other.sights {
            *self.sights.entry(*sight).or_default() += count;
        }
    }
}

impl Faults {
    /// No faults but those that are asked for.
    pub fn none(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            per_mille: BTreeMap::new(),
            due: Vec::new(),
            brokers_are_away: false,
            broken: None,
            tally: Tally::default(),
        }
    }

    /// A mixture that is the seed's own: a run that has every fault at once never gets far enough
    /// to meet the ones that need luck.
    pub fn mixed(seed: u64) -> Self {
        let mut faults = Self::none(seed);
        for fault in Fault::ALL {
            if faults.rng.bool() {
                let rate = faults.rng.u32(1..=fault.per_mille_max());
                faults.per_mille.insert(fault, rate);
            }
        }
        faults
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.per_mille.clear();
        self.due.clear();
        self.brokers_are_away = false;
    }

    pub fn strike_next(&mut self, fault: Fault) {
        self.due.push(fault);
    }

    /// Does this fault strike here and now?
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let due = self.due.iter().position(|due| *due == fault);
        let strikes = match (due, self.per_mille.get(&fault)) {
            _ if self.brokers_are_away && fault.is_of_an_outage() => true,
            (Some(at), _) => {
                self.due.remove(at);
                true
            }
            (None, Some(&rate)) => self.rng.u32(..1000) < rate,
            (None, None) => false,
        };
        if strikes {
            tracing::debug!(?fault, "strikes");
            *self.tally.faults.entry(fault).or_default() += 1;
        }
        strikes
    }

    pub fn see(&mut self, sight: Sight) {
        tracing::debug!(?sight, "seen");
        *self.tally.sights.entry(sight).or_default() += 1;
    }

    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }
}

//! What can be wrong with an event: one example for each reason of a dead letter that flights can
//! meet.

/// A way to spoil an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    CutShort,
    NotUtf8,
    List,
    Nested,
    Padded,
    DelayAbsent,
    DelayAsText,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::CutShort,
        Self::DelayAsText,
        Self::NotUtf8,
        Self::DelayAbsent,
        Self::Nested,
        Self::List,
        Self::Padded,
    ];

    /// The faults in turn.
    pub fn number(number: u64) -> Self {
        Self::ALL[(number % Self::ALL.len() as u64) as usize]
    }

    /// A good event, spoiled.
    pub fn spoil(self, event: &str) -> Vec<u8> {
        match self {
            Self::CutShort => event.as_bytes()[..event.len() / 2].to_vec(),
            Self::NotUtf8 => [b"\xff", event.as_bytes()].concat(),
            Self::List => format!("[{event}]").into_bytes(),
            Self::Nested => {
                let (open, close) = ("[".repeat(100), "]".repeat(100));
                with_delay(event, &format!("{open}{close}")).into_bytes()
            }
            Self::Padded => with_delay(event, &format!("0{}", " ".repeat(20_000))).into_bytes(),
            Self::DelayAbsent => with_delay(event, "null").into_bytes(),
            Self::DelayAsText => with_delay(event, "\"five minutes\"").into_bytes(),
        }
    }
}

/// The event with another value at `/departure/delay`.
fn with_delay(event: &str, value: &str) -> String {
    const DELAY: &str = "\"delay\":";
    let Some((before, rest)) = event.split_once(DELAY) else { return event.to_owned() };
    let after = rest.find('}').map_or("", |end| &rest[end..]);
    format!("{before}{DELAY}{value}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app;
    use crate::cli::demo::flights::Flights;
    use crate::cli::demo::luggage::Luggage;
    use crate::cli::demo::settings::Settings;
    use crate::reject::Reason;
    use crate::score::Scorer;

    #[test]
    fn each_fault_is_refused_for_a_reason_of_its_own() {
        let luggage = Luggage::unpack().unwrap();
        let config = Settings::new(luggage.settings()).load(Vec::new()).unwrap();
        let version = app::configured_bundle(&config, &luggage.bundle("1")).unwrap().version;
        let flight = Flights::unpack().unwrap().event(7).json;
        let spoiled = Fault::ALL.map(|fault| fault.spoil(&flight));
        let mut scorer = Scorer::new(Fault::ALL.len());
        let scores = scorer.score(&version, spoiled.iter().map(Vec::as_slice));
        let reasons = [0, 1, 2, 3, 4, 5, 6].map(|row| scores.outputs(row).unwrap_err().reason);
        let expected = [
            Reason::NotJson,
            Reason::WrongKind,
            Reason::NotUtf8,
            Reason::RequiredFeatureMissing,
            Reason::TooDeep,
            Reason::NotAnObject,
            Reason::TooLarge,
        ];
        assert_eq!(reasons, expected);
    }
}

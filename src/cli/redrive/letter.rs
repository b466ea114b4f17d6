//! What a record of the dead-letters topic says.

use std::str::FromStr;

use crate::encode::{ATTEMPT, DEAD_LETTER_HEADERS};
use crate::record::Header;
use crate::reject::Reason;

/// What a dead letter says of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter<'m> {
    pub reason: Reason,
    /// 1: refused once.
    pub attempt: u64,
    /// Where the event stood.
    pub topic: &'m str,
    pub partition: i32,
    pub offset: i64,
    /// Bytes of the event that the letter had no room for.
    pub omitted: Option<usize>,
}

impl<'m> Letter<'m> {
    /// What these headers say; `None` if they are not those of a dead letter.
    pub fn of(headers: &[Header<'m>]) -> Option<Self> {
        Some(Self {
            reason: reason(text(headers, "foretell.reason")?)?,
            attempt: number(headers, ATTEMPT)?,
            topic: text(headers, "__connect.errors.topic")?,
            partition: number(headers, "__connect.errors.partition")?,
            offset: number(headers, "__connect.errors.offset")
                .filter(|offset| (0..i64::MAX).contains(offset))?,
            omitted: match text(headers, "foretell.omitted_bytes") {
                Some(bytes) => Some(bytes.parse().ok()?),
                None => None,
            },
        })
    }
}

/// Is a header the event's own, and none that its refusal added?
pub fn is_own(header: &Header<'_>) -> bool {
    !DEAD_LETTER_HEADERS.iter().any(|added| added.as_bytes() == header.name)
}

/// The reason of this name.
pub fn reason(name: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == name)
}

/// The value of a header.
pub fn text<'m>(headers: &[Header<'m>], name: &str) -> Option<&'m str> {
    let header = headers.iter().find(|header| header.name == name.as_bytes())?;
    std::str::from_utf8(header.value?).ok()
}

fn number<T: FromStr>(headers: &[Header<'_>], name: &str) -> Option<T> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'m>(pairs: &[(&'m str, &'m str)]) -> Vec<Header<'m>> {
        let header = |(name, value): &(&'m str, &'m str)| Header {
            name: name.as_bytes(),
            value: Some(value.as_bytes()),
        };
        pairs.iter().map(header).collect()
    }

    const WHOLE: [(&str, &str); 5] = [
        ("foretell.reason", "wrong_kind"),
        ("foretell.attempt", "2"),
        ("__connect.errors.topic", "events"),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.offset", "41"),
    ];

    #[test]
    fn a_letter_is_read_and_half_of_one_is_none() {
        let whole = Letter::of(&headers(&WHOLE)).unwrap();
        let Letter { reason, attempt, topic, partition, offset, omitted } = whole;
        assert_eq!((reason, attempt, topic), (Reason::WrongKind, 2, "events"));
        assert_eq!((partition, offset, omitted), (3, 41, None));
        for absent in WHOLE {
            let rest: Vec<_> = WHOLE.into_iter().filter(|pair| *pair != absent).collect();
            assert_eq!(Letter::of(&headers(&rest)), None, "without {absent:?}");
        }
        for (at, wrong) in
            [(0, "because"), (1, "x"), (3, "9999999999"), (4, "-1"), (4, "9223372036854775807")]
        {
            let mut other = WHOLE;
            other[at].1 = wrong;
            assert_eq!(Letter::of(&headers(&other)), None, "{wrong}");
        }
    }

    #[test]
    fn of_what_connect_wrote_only_what_we_add_is_taken_away() {
        let own = |name: &str| is_own(&Header { name: name.as_bytes(), value: None });
        assert!(own("traceparent") && own("__connect.errors.exception.stacktrace"));
        assert!(!own("foretell.reason") && !own("foretell.omitted_bytes"));
        assert!(!own("__connect.errors.exception.message"));
    }
}

//! A record's place in the log, and the record itself, borrowed from whoever holds its bytes.

/// The offset a consumer reads next: one past the last record it has dealt with. It is what
/// Kafka commits. The `+ 1` lives in this type and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextOffset(i64);

impl NextOffset {
    /// The position of a consumer that has just dealt with the record at `offset`.
    pub fn after(offset: i64) -> Self {
        debug_assert!(offset >= 0, "a record's offset is never negative: {offset}");
        Self(offset + 1)
    }

    /// A position as the broker states it (a committed offset is already the next one).
    pub fn at(next: i64) -> Self {
        Self(next)
    }

    /// The offset as Kafka's protocol carries it.
    pub fn get(self) -> i64 {
        self.0
    }

    /// Has the record at `offset` been dealt with by a consumer that stands here?
    pub fn covers(self, offset: i64) -> bool {
        offset < self.0
    }
}

/// One record of the events topic. Key and value are the bytes as they were published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record<'a> {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch, where the record carries a timestamp.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// One header of a record. Names are bytes: nothing stops a producer from sending any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_covers_what_was_dealt_with_and_nothing_more() {
        let next = NextOffset::after(41);
        assert_eq!(next, NextOffset::at(42));
        assert!(next.covers(41));
        assert!(!next.covers(42));
    }
}

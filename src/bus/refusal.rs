//! What brokers refuse, told so that an administrator can act: who this client is, or what it may do.

use std::fmt;

use rdkafka::types::RDKafkaErrorCode;

use super::Fatal;

/// Where everything about rights and credentials is written down.
const BOOK: &str = "docs/security.md";

/// What is done with a resource, as ACLs name it.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    Read,
    Write,
    Create,
}

impl Operation {
    pub fn on(self, resource: Resource<'_>) -> Right<'_> {
        Right { operation: self, resource }
    }
}

/// What an ACL allows.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    operation: Operation,
    resource: Resource<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
}

impl Right<'_> {
    /// The end of a process that lacks this right. `doing`: what it was about to do.
    pub fn is_lacking(self, doing: &str, code: RDKafkaErrorCode) -> Fatal {
        Fatal::NotPermitted(format!(
            "{doing}: {code}\n\nhint: the user needs {self}; {BOOK} lists what each command needs"
        ))
    }
}

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {}", self.operation, self.resource)
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic `{name}`"),
            Self::Group(name) => write!(f, "group `{name}`"),
            Self::TransactionalId(name) => write!(f, "transactional id `{name}`"),
        }
    }
}

/// Errors that no retry ends, and that librdkafka retries for ever.
pub fn is_authorization(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
    )
}

/// Why brokers and client have nothing to do with each other. librdkafka tries again for ever, and
/// it is never right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// In librdkafka's words.
    Credentials(String),
    Certificate(String),
}

impl Refused {
    /// Takes what librdkafka tells; `None`: it is about something else, which may pass.
    pub fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Self> {
        match code {
            Some(RDKafkaErrorCode::Authentication) => Some(Self::Credentials(reason.into())),
            Some(RDKafkaErrorCode::SSL) => Some(Self::Certificate(reason.into())),
            // What a broker thinks of ours comes after the handshake, and counts as a connection lost.
            _ if is_about_certificates(reason) => Some(Self::Certificate(reason.into())),
            _ => None,
        }
    }

    pub fn by(&self, bootstrap_servers: &str) -> Fatal {
        Fatal::NotPermitted(match self {
            Self::Credentials(reason) => format!(
                "the brokers at `{bootstrap_servers}` refuse the credentials of this client: {reason}\n\nhint: check `sasl.mechanism`, `sasl.username` and `sasl.password` in `[kafka.properties]`; {BOOK} has a recipe for each mechanism"
            ),
            Self::Certificate(reason) => format!(
                "TLS with the brokers at `{bootstrap_servers}` fails: {reason}\n\nhint: check `ssl.ca.location` in `[kafka.properties]`, and `ssl.certificate.location` and `ssl.key.location` where the brokers ask who comes; {BOOK} has a recipe"
            ),
        })
    }
}

/// As OpenSSL spells it: what we think of theirs, then the alerts by which they say what they think
/// of ours.
fn is_about_certificates(reason: &str) -> bool {
    [
        "certificate verify failed",
        "alert bad certificate",
        "alert certificate",
        "alert unsupported certificate",
        "alert unknown ca",
        "alert access denied",
    ]
    .iter()
    .any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_told_from_a_lost_connection() {
        let lost = Some(RDKafkaErrorCode::BrokerTransportFailure);
        let alert = "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42";
        assert!(matches!(Refused::of(lost, alert), Some(Refused::Certificate(_))));
        let required = "error:0A00045C:SSL routines::tlsv13 alert certificate required";
        assert!(matches!(Refused::of(lost, required), Some(Refused::Certificate(_))));
        assert_eq!(Refused::of(lost, "Disconnected: SSL connection closed by peer"), None);
        assert_eq!(Refused::of(lost, "Connect failed: Connection refused"), None);
    }
}

//! The secured broker and its users.

use std::fs;
use std::sync::OnceLock;

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use toml::{Table, Value};

use super::keys::Authority;
use super::rights::Right;
use crate::kafka::broker::Broker;
use crate::kafka::deployment::Deployment;

/// A user of SASL, by both mechanisms.
pub const USER: &str = "foretell";
/// Found nowhere by accident.
pub const PASSWORD: &str = "S3cr3t-zebra-417";

pub struct Secured {
    /// Its address is that of the plain listener, where everybody is an administrator.
    pub broker: Broker,
    pub tls: String,
    pub mtls: String,
    pub sasl: String,
    pub authority: Authority,
    admin: AdminClient<DefaultClientContext>,
}

impl Secured {
    /// The one that all these tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Secured> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let authority = Authority::new("authority");
        authority.certify_broker();
        let users = format!("user_{USER}=\"{PASSWORD}\"");
        fs::write(authority.folder().join("plain.jaas"), users).expect("the folder is there");
        let (broker, [tls, mtls, sasl]) = Broker::start_secure("secured", authority.folder());
        let mut client = ClientConfig::new();
        let admin = client.set("bootstrap.servers", &broker.address).create();
        let admin = admin.expect("an admin client can be made");
        let secured = Self { broker, tls, mtls, sasl, authority, admin };
        secured.add_scram_user(USER, PASSWORD);
        secured
    }

    pub fn admin(&self) -> &AdminClient<DefaultClientContext> {
        &self.admin
    }

    /// A deployment whose topics an administrator has made.
    pub fn deployment(&self, name: &str, partitions: i32) -> Deployment {
        Deployment::on(&self.broker, name, partitions)
    }

    /// What a client sets to be sure of the broker.
    pub fn trust(&self) -> Table {
        properties(&[
            ("security.protocol", "ssl"),
            ("ssl.ca.location", &self.authority.certificate()),
        ])
    }

    /// And to show who it is by a certificate with this common name.
    pub fn certified(&self, user: &str) -> Table {
        let identity = self.authority.certify(user);
        let more = [
            ("ssl.certificate.location", identity.certificate.as_str()),
            ("ssl.key.location", &identity.key),
        ];
        [self.trust(), properties(&more)].into_iter().flatten().collect()
    }

    /// Or by a password.
    pub fn with_password(&self, mechanism: &str, user: &str, password: &str) -> Table {
        let more = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", user),
            ("sasl.password", password),
        ];
        [self.trust(), properties(&more)].into_iter().flatten().collect()
    }
}

pub fn properties(pairs: &[(&str, &str)]) -> Table {
    pairs.iter().map(|&(key, value)| (key.to_owned(), Value::from(value))).collect()
}

/// The same deployment for a client that comes by this address, with these properties.
pub fn by(deployment: Deployment, address: &str, properties: Table) -> Deployment {
    deployment.with("kafka.bootstrap_servers", address).with("kafka.properties", properties)
}

/// All that an instance needs, exactly once.
pub fn of_an_instance(deployment: &Deployment) -> Vec<Right> {
    use super::rights::{Operation, Resource};
    let topics = &deployment.topics;
    let group = deployment.name.as_str();
    let mut rights = vec![
        Right::read(&topics.events),
        Right::new(Operation::Read, Resource::Group, group),
        Right::write(&topics.predictions),
        Right::write(&topics.dead_letters),
        Right::read(&topics.control),
        Right::write(&topics.reports),
        Right {
            is_prefix: true,
            ..Right::new(Operation::Write, Resource::TransactionalId, format!("foretell-{group}-"))
        },
    ];
    rights.extend(topics.shadow.as_deref().map(Right::write));
    rights
}

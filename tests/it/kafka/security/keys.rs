//! Certificates, made anew for each run.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::kafka::scratch;

/// An authority that both sides trust, and the folder where its certificates are.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

/// Files of a client.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let folder = scratch::folder("keys").join(name);
        fs::create_dir_all(&folder).expect("a folder under target/tmp can be made");
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        write(&folder.join("ca.pem"), &certificate.pem());
        Self { issuer: Issuer::new(params, key), folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What clients trust it by.
    pub fn certificate(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// The broker's own key and certificate, in the one file that Kafka takes.
    pub fn certify_broker(&self) {
        let (key, certificate) = self.sign("127.0.0.1");
        write(&self.folder.join("broker.pem"), &(key + &certificate));
    }

    /// A client whose common name this is.
    pub fn certify(&self, name: &str) -> Identity {
        let (key, certificate) = self.sign(name);
        let file = |end: &str, text: &str| {
            let path = self.folder.join(format!("{name}.{end}"));
            write(&path, text);
            path.display().to_string()
        };
        Identity { certificate: file("crt", &certificate), key: file("key", &key) }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let signed = named(name).signed_by(&key, &self.issuer);
        (key.serialize_pem(), signed.expect("a certificate can be signed").pem())
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).expect("names are good");
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file under target/tmp can be written");
}

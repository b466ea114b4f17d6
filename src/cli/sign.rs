//! `foretell model sign`: somebody vouches for a bundle, by a signature of its manifest.
//!
//! Keys and signatures are those of the `minisign` tool; where it is not installed, `--generate` makes a
//! pair of keys as `minisign -G` does.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use console::Term;
use ct_codecs::{Base64, Decoder};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};

use super::failure::Failure;
use crate::app;
use crate::model::bundle::{MANIFEST, SIGNATURE, sha256};
use crate::model::gate::{self, Expected, Times};
use crate::model::version::Version;

/// Holds the password of the secret key, where nobody can be asked.
const PASSWORD: &str = "MINISIGN_PASSWORD";

/// Vouch for a bundle, with a key of the `minisign` tool
#[derive(Debug, Args)]
pub struct Sign {
    /// Folder of the bundle; it has to pass the gate here first
    #[arg(value_name = "DIR", required_unless_present = "generate")]
    bundle: Option<PathBuf>,
    /// The secret key: a file of `minisign -G`. Its password is asked for, or taken from
    /// MINISIGN_PASSWORD
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Make that file, and the public key beside it, FILE.pub; without a password where
    /// MINISIGN_PASSWORD is empty
    #[arg(long)]
    generate: bool,
}

impl Sign {
    pub fn run(&self) -> Result<(), Failure> {
        if self.generate {
            self.make_keys()?;
        }
        // The parser asks for one of the two.
        let Some(bundle) = &self.bundle else { return Ok(()) };
        let admitted = gate::admit(
            bundle,
            Expected::default(),
            &app::gate_settings_for_tools(),
            &mut Times::default(),
        )?;
        let secret = self.secret_key()?;
        let Version { model, version, digest, .. } = &admitted.version;
        let manifest = fs::read(bundle.join(MANIFEST))?;
        if format!("sha256:{}", sha256(&manifest)) != *digest {
            return Err(Failure::data("the manifest changed while it was looked at"));
        }
        // Signed, too. No names: they may hold anything, and the comment is one line.
        let now = jiff::Timestamp::now().as_second();
        let comment = format!("timestamp:{now}\t{digest}");
        let public = PublicKey::from_secret_key(&secret).map_err(bad)?;
        let signed = minisign::sign(Some(&public), &secret, &*manifest, Some(&comment), None);
        let path = bundle.join(SIGNATURE);
        fs::write(&path, signed.map_err(bad)?.into_string())?;
        println!("{}", public.to_base64());
        eprintln!("signed {model} version {version}: {}", path.display());
        Ok(())
    }

    /// Reads the secret key; asks for its password if it has one and the environment does not say.
    fn secret_key(&self) -> Result<SecretKey, Failure> {
        let named = |error: String| Failure::data(format!("`{}`: {error}", self.key.display()));
        let text = fs::read_to_string(&self.key).map_err(|error| named(error.to_string()))?;
        let bytes = text.lines().nth(1).map(|line| Base64::decode_to_vec(line.trim(), None));
        let key = match bytes {
            Some(Ok(bytes)) => SecretKey::from_bytes(&bytes).ok(),
            _ => None,
        };
        let key = key.ok_or_else(|| named("it is no secret key of minisign".into()))?;
        // Not by `into_unencrypted_secret_key`: the tool leaves out the checksum of a key without a
        // password, and the crate wants it.
        if !key.is_encrypted() {
            return Ok(key);
        }
        let password = password("password of the key: ")?;
        let key = SecretKeyBox::from_string(&text)
            .and_then(|sealed| sealed.into_secret_key(Some(password)));
        key.map_err(|error| named(error.to_string()))
    }

    /// Writes a pair of keys, and never over another one.
    fn make_keys(&self) -> Result<(), Failure> {
        let mut beside = self.key.clone().into_os_string();
        beside.push(".pub");
        let first = password("password for the new key, none to do without: ")?;
        if first != password("once more: ")? {
            return Err(Failure::usage("the two passwords differ"));
        }
        let pair = match first {
            password if password.is_empty() => KeyPair::generate_unencrypted_keypair(),
            password => KeyPair::generate_encrypted_keypair(Some(password)),
        };
        let pair = pair.map_err(bad)?;
        let secret = pair.sk.to_box(None).map_err(bad)?.into_string();
        write_new(&self.key, &secret, 0o600)?;
        write_new(Path::new(&beside), &pair.pk.to_box().map_err(bad)?.into_string(), 0o644)?;
        eprintln!("made `{}` and `{}`", self.key.display(), Path::new(&beside).display());
        eprintln!("for `model.trusted_keys`: {:?}", pair.pk.to_base64());
        Ok(())
    }
}

/// From the environment, or from whoever sits at the terminal.
fn password(question: &str) -> Result<String, Failure> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let terminal = Term::stderr();
    if !terminal.is_term() {
        let why = "there is no terminal to ask for the key's password";
        return Err(Failure::usage(format!("{why}\n\nhint: set {PASSWORD}")));
    }
    terminal.write_str(question)?;
    Ok(terminal.read_secure_line()?)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let made = File::options().write(true).create_new(true).mode(mode).open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::data(format!("cannot make `{}`: {error}", path.display())))
}

fn bad(error: minisign::PError) -> Failure {
    Failure::data(error.to_string())
}

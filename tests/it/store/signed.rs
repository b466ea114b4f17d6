//! Bundles that somebody vouches for.

use std::fs;
use std::path::Path;

use foretell::model::bundle::BundleError;
use foretell::model::signature::PublicKey;
use foretell::model::store::Settings;

use super::{fetch, flights, settings};

const FILES: [&str; 3] = ["manifest.json", "model.txt", "golden.jsonl"];

/// A bundle of its own, to be signed and spoiled.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        fs::copy(flights().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// Makes a pair of keys in `folder` without a password, and signs `bundle`; the public key.
fn sign(folder: &Path, bundle: &Path) -> PublicKey {
    let output = crate::program::command()
        .args(["model", "sign", "--generate", "--key"])
        .arg(folder.join("key"))
        .arg(bundle)
        .env("MINISIGN_PASSWORD", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", crate::program::stderr(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    PublicKey::from_base64(told.trim()).unwrap()
}

#[test]
fn only_what_a_trusted_key_signed_is_taken() {
    let (keys, others, bundle) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), copy());
    let folder = bundle.path().to_str().unwrap();
    let take = |trusted_keys: &[PublicKey]| {
        let settings = Settings { trusted_keys: trusted_keys.to_vec(), ..settings(folder) };
        fetch(settings, folder, bundle.path())
    };
    let check = |trusted: &[PublicKey], why: &str| {
        let fault = take(trusted).unwrap_err();
        assert!(matches!(fault, BundleError::Signature { .. }) && !fault.is_transient(), "{fault}");
        assert!(fault.to_string().contains(why), "{fault}");
    };
    let stranger = sign(others.path(), bundle.path());
    fs::remove_file(bundle.path().join("manifest.json.minisig")).unwrap();
    check(std::slice::from_ref(&stranger), "is not signed");
    let ours = sign(keys.path(), bundle.path());
    take(&[stranger.clone(), ours.clone()]).unwrap();
    take(&[]).unwrap();
    check(&[stranger], "none of `model.trusted_keys`");
    // The digest is that of the changed manifest, as whoever changes it would announce.
    let manifest = bundle.path().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text} ")).unwrap();
    check(&[ours], "not the one that was signed");
    // Keys are never written over.
    let again = crate::program::command()
        .args(["model", "sign", "--generate", "--key"])
        .arg(keys.path().join("key"))
        .env("MINISIGN_PASSWORD", "")
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(65), "{}", crate::program::stderr(&again));
}

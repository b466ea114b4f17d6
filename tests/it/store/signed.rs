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

/// Made by `minisign -G -W`, 0.11, which leaves out the checksum. It protects nothing.
const TOOLS_KEY: [&str; 2] = [
    "untrusted comment: minisign encrypted secret key\nRWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA40rLEYBHmRQEHxzCUzCQVxfcTUrFbq7Lol+O9TVb7hPCxlpq4AkLBNhQ6slbkoZ5HliF7BkH+ajdIyJnjZU34V7YsGPch+cgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    "RWTjSssRgEeZFNhQ6slbkoZ5HliF7BkH+ajdIyJnjZU34V7YsGPch+cg",
];

#[test]
fn a_key_of_the_minisign_tool_signs() {
    let (keys, bundle) = (tempfile::tempdir().unwrap(), copy());
    let [secret, public] = TOOLS_KEY;
    fs::write(keys.path().join("key"), secret).unwrap();
    let sign = |key: &str| {
        let mut command = crate::program::foretell();
        command.args(["model", "sign", "--key"]).arg(keys.path().join(key)).arg(bundle.path());
        command.output().unwrap()
    };
    let output = sign("key");
    assert!(output.status.success(), "{}", crate::program::stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), public);
    let folder = bundle.path().to_str().unwrap();
    let trusted_keys = vec![PublicKey::from_base64(public).unwrap()];
    fetch(Settings { trusted_keys, ..settings(folder) }, folder, bundle.path()).unwrap();

    fs::write(keys.path().join("other"), "comment\nRWTj\n").unwrap();
    let output = sign("other");
    let told = crate::program::stderr(&output);
    assert!(output.status.code() == Some(65) && told.contains("no secret key"), "{told}");
}

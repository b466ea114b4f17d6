//! Who vouches for a bundle: signatures of the `minisign` tool over `manifest.json`.
//!
//! minisign and not bare Ed25519: keys and signatures are files that a tool of every distribution
//! makes and checks, and secret keys are protected by a password. Only signatures of a hash are taken, which is
//! what the tool makes since 0.10.

pub use minisign_verify::PublicKey;
use minisign_verify::{Error, Signature};

/// Fails unless one of the `trusted` keys made this signature of this manifest; says why.
pub fn verify(manifest: &[u8], signature: &[u8], trusted: &[PublicKey]) -> Result<(), String> {
    let signature = std::str::from_utf8(signature).map_err(|_| "it is no text".to_owned())?;
    let signature = Signature::decode(signature)
        .map_err(|error| format!("it is no signature of minisign: {error}"))?;
    let mut by_another = true;
    for key in trusted {
        match key.verify(manifest, &signature, false) {
            Ok(()) => return Ok(()),
            Err(Error::UnexpectedKeyId) => {}
            Err(Error::UnexpectedAlgorithm) => {
                return Err("it is of a form that minisign made before 0.10: sign anew".into());
            }
            Err(_) => by_another = false,
        }
    }
    Err(if by_another {
        "none of `model.trusted_keys` made it".into()
    } else {
        "the manifest is not the one that was signed".into()
    })
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;

    use super::*;

    fn key(pair: &KeyPair) -> PublicKey {
        PublicKey::from_base64(&pair.pk.to_base64()).unwrap()
    }

    fn sign(pair: &KeyPair, bytes: &[u8]) -> String {
        minisign::sign(None, &pair.sk, bytes, None, None).unwrap().to_string()
    }

    #[test]
    fn a_signature_is_of_one_key_and_one_manifest() {
        let ours = KeyPair::generate_unencrypted_keypair().unwrap();
        let theirs = KeyPair::generate_unencrypted_keypair().unwrap();
        let signed = sign(&ours, b"manifest");
        let check = |manifest: &[u8], signature: &str, keys: &[PublicKey]| {
            verify(manifest, signature.as_bytes(), keys).err().unwrap_or_default()
        };
        assert_eq!(check(b"manifest", &signed, &[key(&theirs), key(&ours)]), "");
        assert!(check(b"manifest", &signed, &[key(&theirs)]).contains("none of"));
        assert!(check(b"manifesto", &signed, &[key(&ours)]).contains("not the one"));
        assert!(check(b"manifest", "", &[key(&ours)]).contains("no signature"));
        // The trusted comment is signed as well.
        let forged = signed.replace("timestamp:", "timestamp:9");
        assert!(check(b"manifest", &forged, &[key(&ours)]).contains("not the one"));
    }

    /// Key and signature of the `minisign` tool itself, from the crate's documentation.
    #[test]
    fn what_the_tool_signed_is_taken() {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let signature = "untrusted comment: signature from minisign secret key\n\
            RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
            trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
            wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==";
        let key = PublicKey::from_base64(key).unwrap();
        assert_eq!(verify(b"test", signature.as_bytes(), &[key]), Ok(()));
    }
}

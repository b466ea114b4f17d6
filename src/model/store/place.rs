//! A place where a bundle may be: a folder, or a URL of a kind of server.
//!
//! Whatever has two readings is refused rather than read in one of them: the one who wrote the list of
//! allowed places and the server that is asked must mean the same.

use std::path::{Component, PathBuf};

use url::Url;

use crate::model::bundle::BundleError;

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine, as it was written.
    Local(PathBuf),
    Remote(Remote),
}

/// A folder on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub scheme: Scheme,
    pub url: Url,
    /// As it was written, without a `/` at its end: for messages.
    pub uri: String,
}

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    S3,
    Gs,
    Az,
}

impl Scheme {
    /// Fails if this build has no client for it.
    pub fn is_built_in(self, uri: &str) -> Result<(), BundleError> {
        let (feature, is_there) = match self {
            Self::Http => ("http", cfg!(feature = "http")),
            Self::S3 => ("s3", cfg!(feature = "s3")),
            Self::Gs => ("gs", cfg!(feature = "gs")),
            Self::Az => ("az", cfg!(feature = "az")),
        };
        if is_there {
            return Ok(());
        }
        let why = format!(
            "this build has no client for it\n\nhint: build with `cargo build --features {feature}`"
        );
        Err(BundleError::Uri { uri: told(uri), why })
    }
}

impl Place {
    /// Reads a path, `file://` and an absolute path, or a URL.
    ///
    /// # Errors
    /// It is none of them, or could be read in more than one way.
    pub fn parse(uri: &str) -> Result<Self, BundleError> {
        let place = match uri.split_once("://") {
            None => local(PathBuf::from(uri)),
            Some(("file", _)) => file(uri),
            Some((scheme, rest)) => match scheme {
                "http" | "https" => remote(uri, rest, Scheme::Http),
                "s3" => remote(uri, rest, Scheme::S3),
                "gs" => remote(uri, rest, Scheme::Gs),
                "az" => remote(uri, rest, Scheme::Az),
                _ => {
                    Err("expected a path, file://, http://, https://, s3://, gs:// or az://".into())
                }
            },
        };
        place.map_err(|why| BundleError::Uri { uri: told(uri), why })
    }
}

/// A URI as messages show it: without what may be a secret, before an `@` or behind `?` or `#`.
pub fn told(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.into() };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, more) = rest.split_at(end);
    let place = match place.rsplit_once('@') {
        Some((_, place)) => format!("***@{place}"),
        None => place.into(),
    };
    let more = more.chars().next().map(|mark| format!("{mark}***")).unwrap_or_default();
    format!("{scheme}://{place}{more}")
}

fn local(path: PathBuf) -> Result<Place, String> {
    if path.as_os_str().is_empty() {
        return Err("it is empty".into());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(UP.into());
    }
    Ok(Place::Local(path))
}

const UP: &str = "a part of it is `..`";

fn file(uri: &str) -> Result<Place, String> {
    if uri.contains('\\') {
        return Err("`\\` is written %5C in a file's URL".into());
    }
    // Before `Url` takes them away.
    let parts = uri.split('/').map(|part| part.to_ascii_lowercase().replace("%2e", "."));
    if parts.into_iter().any(|part| part == "..") {
        return Err(UP.into());
    }
    let url = Url::parse(uri).map_err(|error| error.to_string())?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("`?` and `#` are written %3F and %23 in a file's URL".into());
    }
    match url.to_file_path() {
        Ok(path) => local(path),
        Err(()) => Err("an absolute path follows `file://`, as in `file:///models/7`".into()),
    }
}

/// `rest`: what follows `://`.
fn remote(uri: &str, rest: &str, scheme: Scheme) -> Result<Place, String> {
    if uri.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("blanks, control characters and `\\` are none of a URL".into());
    }
    let folder = rest.split(['?', '#']).next().unwrap_or_default();
    let (server, path) = folder.split_once('/').unwrap_or((folder, ""));
    // `Url` would take the first part of the path instead.
    if server.is_empty() {
        return Err("it names no host or bucket".into());
    }
    for part in path.strip_suffix('/').unwrap_or(path).split('/').filter(|_| !path.is_empty()) {
        is_plain(part)?;
    }
    let url = Url::parse(uri.trim_end_matches('/')).map_err(|error| error.to_string())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host or bucket".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong into a URL: everybody reads it".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a bundle is a folder, whose URL has no `?` and no `#`".into());
    }
    Ok(Place::Remote(Remote { scheme, url, uri: uri.trim_end_matches('/').into() }))
}

/// Fails on a part of a path that a server might take for another one.
fn is_plain(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("a part of its path is empty".into());
    }
    if matches!(part, "." | "..") {
        return Err(format!("a part of it is `{part}`"));
    }
    for rest in part.split('%').skip(1) {
        let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let is_good = byte
            .filter(|_| rest.as_bytes()[0] != b'+')
            .is_some_and(|byte| !matches!(byte, b'.' | b'/' | b'\\' | b'%' | 0..0x20 | 0x7f));
        if !is_good {
            return Err(format!("`{part}` has an escape that hides what it is"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_places() {
        for (uri, path) in [
            ("models/7", "models/7"),
            ("/models/7/", "/models/7"),
            ("file:///models/7", "/models/7"),
            ("file://localhost/models/7", "/models/7"),
            ("file:///my%20models/7", "/my models/7"),
        ] {
            assert_eq!(Place::parse(uri).unwrap(), Place::Local(path.into()), "{uri}");
        }
        for (uri, scheme) in [
            ("http://host/models/7", Scheme::Http),
            ("https://host:8443/models/7/", Scheme::Http),
            ("s3://bucket/models/7", Scheme::S3),
            ("s3://bucket", Scheme::S3),
            ("gs://bucket/my%20models/v1.2", Scheme::Gs),
            ("az://container/models/7", Scheme::Az),
        ] {
            let Place::Remote(remote) = Place::parse(uri).unwrap() else { panic!("{uri}") };
            assert_eq!(remote.scheme, scheme, "{uri}");
        }
    }

    /// Whoever put a secret into a URI did wrong, and need not read it in a log.
    #[test]
    fn a_secret_in_a_uri_is_not_told() {
        for uri in [
            "https://user:S3cret@host/models/7",
            "https://S3cret@host/models/7",
            "https://user:S3/c@S3cret@host/models/7",
            "https://host/models/7?token=S3cret",
            "https://host/models/7?sig=S3%2Fcret%zz",
            "https://host/models/../7?sig=S3cret",
            "https://host/models/7#S3cret",
            "https://us?er:S3cret@host/models/7",
            "ftp://user:S3cret@host/7",
            "file:///models/7?S3cret",
        ] {
            let fault = Place::parse(uri).unwrap_err().to_string();
            assert!(!fault.contains("S3"), "{fault}");
        }
        assert_eq!(told("https://a:b@host/7?c"), "https://***@host/7?***");
        assert_eq!(told("s3://bucket/7"), "s3://bucket/7");
    }

    #[test]
    fn hostile_places() {
        for uri in [
            "",
            "../models/7",
            "models/../../7",
            "/models/..",
            "file://models/7",
            "file://host/models/7",
            "file:///models/../etc",
            "file:///models/%2e%2e/etc",
            "file:///models/.%2E/etc",
            "file:///models/..\\etc",
            "file:///models/7?x",
            "ftp://models/7",
            "S3://bucket/7",
            "memory:///7",
            "s3:///7",
            "s3://",
            "https://",
            "https:///7",
            "s3://bucket/../7",
            "s3://bucket/./7",
            "s3://bucket//7",
            "s3://bucket/7//",
            "https://host/models/../7",
            "https://host/models/%2e%2e/7",
            "https://host/models/%2E./7",
            "https://host/models/.%2e/7",
            "https://host/models/..%2f7",
            "https://host/models/%252e%252e/7",
            "https://host/models/%5c..%5c7",
            "https://host/models\\..\\7",
            "https://host/models/\t../7",
            "https://host/models/..\n/7",
            "https://host/models/%00",
            "https://host/models/%7",
            "https://host/models/%zz",
            "https://host/models/%+2",
            " https://host/models/7",
            "https://user@host/models/7",
            "https://user:secret@host/models/7",
            "https://host/models/7?version=1",
            "https://host/models/7#1",
            "https://host?/models/7",
            "https://ho st/models/7",
        ] {
            let parsed = Place::parse(uri);
            assert!(matches!(parsed, Err(BundleError::Uri { .. })), "{uri}: {parsed:?}");
        }
    }
}

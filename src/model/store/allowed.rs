//! The places that a message may name: a list of folders and URLs, with all that is below them.

use std::path::{self, Path};

use super::place::{Place, Remote};
use crate::model::bundle::BundleError;

/// Where announced bundles may be.
#[derive(Debug, Clone)]
pub struct Allowed(Vec<Place>);

impl Allowed {
    /// # Errors
    /// One of them is no place.
    pub fn parse(places: &[String]) -> Result<Self, BundleError> {
        places.iter().map(|place| Place::parse(place)).collect::<Result<_, _>>().map(Self)
    }

    /// The place that `uri` names; a local one by its real path, which no link leads away from.
    ///
    /// # Errors
    /// It is none, or is below none of the allowed ones.
    pub fn admit(&self, uri: &str) -> Result<Place, BundleError> {
        let place = Place::parse(uri)?;
        let admitted = match &place {
            Place::Local(path) => return self.admit_local(uri, path).map(Place::Local),
            Place::Remote(remote) => self.0.iter().any(|allowed| match allowed {
                Place::Remote(allowed) => is_below(remote, allowed),
                Place::Local(_) => false,
            }),
        };
        if admitted { Ok(place) } else { Err(self.refusal(uri)) }
    }

    fn admit_local(&self, uri: &str, path: &Path) -> Result<path::PathBuf, BundleError> {
        let locals = || {
            self.0.iter().filter_map(|place| match place {
                Place::Local(path) => Some(path),
                Place::Remote(_) => None,
            })
        };
        match path.canonicalize() {
            Ok(real) => {
                // Looked at anew each time: a folder may be mounted, or a link changed, later on.
                let is_allowed = locals().any(|allowed| {
                    allowed.canonicalize().is_ok_and(|allowed| real.starts_with(allowed))
                });
                if is_allowed { Ok(real) } else { Err(self.refusal(uri)) }
            }
            // Only of what may be read is it told whether it is there.
            Err(error) => {
                let whole = path::absolute(path).unwrap_or_else(|_| path.into());
                let is_allowed = locals().any(|allowed| {
                    path::absolute(allowed).is_ok_and(|allowed| whole.starts_with(allowed))
                        || allowed.canonicalize().is_ok_and(|allowed| whole.starts_with(allowed))
                });
                Err(if is_allowed { BundleError::of_file(path, &error) } else { self.refusal(uri) })
            }
        }
    }

    fn refusal(&self, uri: &str) -> BundleError {
        let told = |place: &Place| match place {
            Place::Local(path) => format!("`{}`", path.display()),
            Place::Remote(remote) => format!("`{}`", remote.uri),
        };
        let places: Vec<_> = self.0.iter().map(told).collect();
        let why = if places.is_empty() {
            "no place is allowed\n\nhint: set `model.allowed_uris`".into()
        } else {
            format!(
                "it is below none of {}\n\nhint: `model.allowed_uris` says what is allowed; by default \
                 it is the folder that the configured bundle's folder stands in",
                places.join(", ")
            )
        };
        BundleError::NotAllowed { uri: uri.into(), why }
    }
}

/// The same server, and a path that begins with all parts of the allowed one's.
fn is_below(remote: &Remote, allowed: &Remote) -> bool {
    let server = |remote: &Remote| {
        let Remote { url, .. } = remote;
        let host = url.host_str().unwrap_or_default().to_owned();
        (url.scheme().to_owned(), host, url.port_or_known_default())
    };
    let parts = |remote: &Remote| {
        let parts = remote.url.path().split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    server(remote) == server(allowed) && parts(remote).starts_with(&parts(allowed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(allowed: &[&str], uri: &str, expected: bool) {
        let places: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let admitted = Allowed::parse(&places).unwrap().admit(uri);
        assert_eq!(admitted.is_ok(), expected, "{uri} of {allowed:?}: {admitted:?}");
    }

    #[test]
    fn below_means_by_whole_parts_on_the_same_server() {
        let allowed =
            ["s3://bucket/models", "https://host/models/", "http://host:8080", "gs://all"];
        for uri in [
            "s3://bucket/models",
            "s3://bucket/models/7",
            "s3://bucket/models/a/b/7/",
            "https://host/models/7",
            "https://HOST:443/models/7",
            "http://host:8080/7",
            "gs://all/7",
        ] {
            check(&allowed, uri, true);
        }
        for uri in [
            "s3://bucket/models-evil/7",
            "s3://bucket/model",
            "s3://bucket/7",
            "s3://bucket/Models/7",
            "s3://bucket.evil/models/7",
            "s3://bucket/%6dodels/7",
            "https://host/models/../7",
            "https://host/models/%2e%2e/7",
            "https://host/7",
            "https://host:8443/models/7",
            "https://host.evil/models/7",
            "https://evil/host/models/7",
            "http://host/models/7",
            "http://host:80/7",
            "gs://all-evil/7",
            "az://all/7",
            "/models/7",
            "models",
        ] {
            check(&allowed, uri, false);
        }
        check(&[], "s3://bucket/models/7", false);
        check(&[], "/", false);
    }

    #[test]
    fn links_are_followed_before_folders_are_compared() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name).display().to_string();
        for folder in ["models/7", "models-evil/7", "elsewhere/7"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        symlink(at("elsewhere/7"), at("models/8")).unwrap();
        symlink(at("elsewhere"), at("models/more")).unwrap();
        symlink(at("models"), at("current")).unwrap();
        let allowed: [&str; 1] = [&at("models")];
        check(&allowed, &at("models/7"), true);
        check(&allowed, &format!("file://{}", at("models/7")), true);
        check(&allowed, &at("current/7"), true);
        check(&[&at("current")], &at("models/7"), true);
        for refused in ["models-evil/7", "models/8", "models/more/7", "elsewhere/7", "models/../7"]
        {
            check(&allowed, &at(refused), false);
        }
    }

    /// Whether a file is there is nobody's business outside the allowed places.
    #[test]
    fn what_is_not_there_is_told_of_allowed_places_only() {
        let root = tempfile::tempdir().unwrap();
        let allowed = Allowed::parse(&[root.path().display().to_string()]).unwrap();
        let absent = allowed.admit(root.path().join("7").to_str().unwrap()).unwrap_err();
        assert!(absent.is_transient(), "{absent}");
        for uri in ["/etc/hostname", "/nowhere/7"] {
            let refused = allowed.admit(uri).unwrap_err();
            assert!(matches!(refused, BundleError::NotAllowed { .. }), "{refused}");
            assert!(!refused.is_transient());
        }
    }
}

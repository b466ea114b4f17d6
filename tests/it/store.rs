//! Bundles from servers, good ones and bad ones: HTTP as it is spoken by a few lines of this file,
//! and S3 as it is spoken by moto (`tests/moto.sh`).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use foretell::model::bundle::{Bundle, BundleError, sha256};
use foretell::model::signature::PublicKey;
use foretell::model::store::{Settings, Store};
use foretell::stop::Stop;

const FILES: [&str; 3] = ["manifest.json", "model.txt", "golden.jsonl"];

fn flights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flights/bundles/1")
}

fn digest(folder: &Path) -> String {
    format!("sha256:{}", sha256(&fs::read(folder.join("manifest.json")).unwrap()))
}

/// A store that may read below `allowed`, keeps nothing and waits for nothing.
fn settings(allowed: &str) -> Settings {
    Settings {
        allowed: vec![allowed.into()],
        cache: None,
        timeout: Duration::from_secs(20),
        jitter: Duration::ZERO,
        bytes_max: 64 << 20,
        trusted_keys: Vec::new(),
    }
}

fn fetch(settings: Settings, uri: &str) -> Result<Bundle, BundleError> {
    Store::new(settings, Stop::default()).unwrap().fetch(uri, &digest(&flights()))
}

/// A server on this machine that answers each connection's one request by a function: of the path,
/// and of how many requests there were before.
#[cfg(feature = "http")]
struct Server {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

#[cfg(feature = "http")]
impl Server {
    fn start(answer: impl Fn(&str, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let paths = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&paths));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || serve(stream.unwrap(), &*answer, &seen));
            }
        });
        Self { address, paths }
    }

    /// One that has the flights' bundle, and spoils what `spoil` does.
    fn of_flights(
        spoil: impl Fn(&str, usize, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |path, before, stream| {
            if spoil(path, before, stream) {
                return;
            }
            match path.strip_prefix("/models/1/").map(|name| fs::read(flights().join(name))) {
                Some(Ok(bytes)) => whole(stream, "200 OK", &bytes),
                _ => whole(stream, "404 Not Found", b"no such file"),
            }
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> usize {
        self.paths.lock().unwrap().len()
    }

    /// Fetches the flights' bundle from here.
    fn fetch(&self) -> Result<Bundle, BundleError> {
        self.fetch_within(Duration::from_secs(20))
    }

    fn fetch_within(&self, timeout: Duration) -> Result<Bundle, BundleError> {
        let settings = Settings { timeout, ..settings(&self.url("/models")) };
        fetch(settings, &self.url("/models/1"))
    }
}

#[cfg(feature = "http")]
fn serve(
    mut stream: TcpStream,
    answer: &impl Fn(&str, usize, &mut TcpStream),
    seen: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    lines.by_ref().find(String::is_empty);
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(path.clone());
        seen.len() - 1
    };
    answer(&path, before, &mut stream);
}

/// An answer as it should be. Whoever asked may have gone.
#[cfg(feature = "http")]
fn whole(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let _ = stream.write_all(body);
}

/// A head, and then bytes for as long as anybody takes them, or ten seconds.
#[cfg(feature = "http")]
fn endless(stream: &mut TcpStream, head: &str, chunk: &[u8], pause: Duration) {
    let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) && stream.write_all(chunk).is_ok() {
        thread::sleep(pause);
    }
}

/// The folders of a cache, but for those in the making.
fn entries(cache: &Path) -> usize {
    let found = fs::read_dir(cache).into_iter().flatten().flatten();
    found.filter(|entry| entry.file_name().len() == 64).count()
}

#[test]
#[cfg(feature = "http")]
fn a_restart_needs_no_network() {
    let server = Server::of_flights(|_, _, _| false);
    let cache = tempfile::tempdir().unwrap();
    let with_cache = || Settings { cache: Some(cache.path().into()), ..settings(&server.url("/")) };
    let uri = server.url("/models/1/");
    assert_eq!(fetch(with_cache(), &uri).unwrap().manifest.version, "1");
    assert_eq!(server.requests(), 3);
    assert_eq!(fetch(with_cache(), &uri).unwrap().manifest.version, "1");
    assert_eq!((server.requests(), entries(cache.path())), (3, 1));
    // What is here is still not served to whoever may not have it.
    let elsewhere = Settings { allowed: vec!["s3://models".into()], ..with_cache() };
    assert!(matches!(fetch(elsewhere, &uri), Err(BundleError::NotAllowed { .. })));
    // Damaged, it is fetched anew.
    let hex = digest(&flights())["sha256:".len()..].to_owned();
    fs::write(cache.path().join(hex).join("model.txt"), "cut").unwrap();
    fetch(with_cache(), &uri).unwrap();
    assert_eq!((server.requests(), entries(cache.path())), (6, 1));
}

#[test]
#[cfg(feature = "http")]
fn a_cache_that_cannot_be_written_costs_a_fetch_and_no_more() {
    let server = Server::of_flights(|_, _, _| false);
    let cache = Some(PathBuf::from("/proc/no-such-folder"));
    let settings = Settings { cache, ..settings(&server.url("/models")) };
    fetch(settings, &server.url("/models/1")).unwrap();
}

/// Not even one that leads to an allowed place, and the place it leads to is not asked.
#[test]
#[cfg(feature = "http")]
fn redirects_are_not_followed() {
    let elsewhere = Arc::new(Server::of_flights(|_, _, _| false));
    let target = elsewhere.url("");
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = target.clone();
        let server = Server::start(move |path, _, stream| {
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nlocation: {target}{path}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        });
        let fault = server.fetch().unwrap_err();
        assert!(fault.to_string().contains("redirects are not followed"), "{status}: {fault}");
        assert!(!fault.is_transient(), "{status}: {fault}");
        assert_eq!(server.requests(), 1, "{status}");
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[test]
#[cfg(feature = "http")]
fn what_may_mend_itself_is_told_from_what_will_not() {
    let absent = Server::of_flights(|_, _, _| false);
    let fault = fetch(settings(&absent.url("/")), &absent.url("/models/7")).unwrap_err();
    assert!(matches!(fault, BundleError::Absent { .. }) && fault.is_transient(), "{fault}");

    let forbidding = Server::start(|_, _, stream| whole(stream, "403 Forbidden", b"go away"));
    let fault = forbidding.fetch().unwrap_err();
    assert!(fault.to_string().contains("refuses") && !fault.is_transient(), "{fault}");
    assert_eq!(forbidding.requests(), 1);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings =
        Settings { timeout: Duration::from_millis(500), ..settings(&format!("http://{nobody}")) };
    let fault = fetch(settings, &format!("http://{nobody}/models/1")).unwrap_err();
    assert!(fault.is_transient(), "{fault}");
}

#[test]
#[cfg(feature = "http")]
fn a_server_that_stumbles_is_asked_again() {
    let server = Server::of_flights(|_, before, stream| {
        let stumbles = before == 0 || before == 2;
        if stumbles {
            whole(stream, "503 Service Unavailable", b"later");
        }
        stumbles
    });
    server.fetch().unwrap();
    assert_eq!(server.requests(), 5);
}

/// Neither what a server declares nor what it sends is taken into memory beyond the bounds.
#[test]
#[cfg(feature = "http")]
fn sizes_are_bounded() {
    let declared = Server::start(|_, _, stream| {
        endless(stream, "200 OK\r\ncontent-length: 1000000000000", b"{", Duration::ZERO);
    });
    let fault = declared.fetch().unwrap_err();
    assert!(matches!(fault, BundleError::TooLarge { .. }), "{fault}");

    // As much as may be, in chunks, without and with a length that they do not keep.
    for length in ["", "\r\ncontent-length: 100"] {
        let head = format!("200 OK\r\ntransfer-encoding: chunked{length}");
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        let server =
            Server::start(move |_, _, stream| endless(stream, &head, &chunk, Duration::ZERO));
        let began = Instant::now();
        server.fetch_within(Duration::from_secs(4)).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }

    let error = Server::start(|_, _, stream| {
        let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
        endless(stream, "400 Bad Request\r\ntransfer-encoding: chunked", &chunk, Duration::ZERO);
    });
    let began = Instant::now();
    let fault = error.fetch().unwrap_err();
    assert!(fault.to_string().len() < 1_000, "{fault}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// A byte a tenth of a second.
#[cfg(feature = "http")]
fn slow() -> Server {
    Server::start(|_, _, stream| {
        endless(stream, "200 OK\r\ncontent-length: 5000", b"{", Duration::from_millis(100));
    })
}

#[test]
#[cfg(feature = "http")]
fn time_is_bounded() {
    let began = Instant::now();
    let fault = slow().fetch_within(Duration::from_millis(700)).unwrap_err();
    assert!(fault.to_string().contains("700 ms (`model.fetch_timeout_ms`)"), "{fault}");
    assert!(fault.is_transient());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
#[cfg(feature = "http")]
fn a_fetch_ends_with_the_wish_to_stop() {
    let server = slow();
    for jitter in [Duration::ZERO, Duration::from_secs(100_000)] {
        let (stop, settings) =
            (Stop::default(), Settings { jitter, ..settings(&server.url("/models")) });
        let store = Store::new(settings, stop.clone()).unwrap();
        let asked = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            stop.request(Duration::from_secs(1));
        });
        let began = Instant::now();
        let fault = store.fetch(&server.url("/models/1"), &digest(&flights())).unwrap_err();
        assert!(fault.to_string().contains("stopping"), "{fault}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        asked.join().unwrap();
    }
}

#[test]
#[cfg(feature = "http")]
fn what_is_not_as_announced_is_refused_and_not_kept() {
    let server = Server::of_flights(|path, _, stream| {
        let spoils = path.ends_with("model.txt");
        if spoils {
            let mut bytes = fs::read(flights().join("model.txt")).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            whole(stream, "200 OK", &bytes);
        }
        spoils
    });
    let cache = tempfile::tempdir().unwrap();
    let settings =
        Settings { cache: Some(cache.path().into()), ..settings(&server.url("/models")) };
    let fault = fetch(settings, &server.url("/models/1")).unwrap_err();
    assert!(matches!(fault, BundleError::Digest { .. }) && !fault.is_transient(), "{fault}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

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
    let fetch = |trusted_keys: &[PublicKey]| {
        let settings = Settings { trusted_keys: trusted_keys.to_vec(), ..settings(folder) };
        Store::new(settings, Stop::default()).unwrap().fetch(folder, &digest(bundle.path()))
    };
    let check = |trusted: &[PublicKey], why: &str| {
        let fault = fetch(trusted).unwrap_err();
        assert!(matches!(fault, BundleError::Signature { .. }) && !fault.is_transient(), "{fault}");
        assert!(fault.to_string().contains(why), "{fault}");
    };
    let stranger = sign(others.path(), bundle.path());
    fs::remove_file(bundle.path().join("manifest.json.minisig")).unwrap();
    check(std::slice::from_ref(&stranger), "is not signed");
    let ours = sign(keys.path(), bundle.path());
    fetch(&[stranger.clone(), ours.clone()]).unwrap();
    fetch(&[]).unwrap();
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

/// S3 by a server that speaks it. The client takes endpoint and credentials from the environment, so
/// it runs in a process that has them: this program, once more, as [`fetch_as_told`].
#[test]
#[cfg(feature = "s3")]
fn a_bundle_comes_from_s3() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("s3-{}", std::process::id()));
    let endpoint = moto(&["start", scratch.to_str().unwrap(), &std::process::id().to_string()]);
    moto(&["put", &endpoint, "models", "flights/1", flights().to_str().unwrap()]);
    let check = |uri: &str, expected: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::fetch_as_told", "--ignored", "--nocapture"])
            .env("FORETELL_TEST_URI", uri)
            .env("FORETELL_TEST_CACHE", scratch.join("cache"))
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(expected), "expected {expected:?} of {uri}, got:\n{told}");
    };
    check(
        "s3://models/flights/2",
        "transient=true: cannot read `s3://models/flights/2/manifest.json`",
    );
    check("s3://models/flights/1", "version 1");
    check("s3://models/secret/1", "transient=false: `s3://models/secret/1` may not be read from");
    check("s3://models/flights/../secret", "transient=false");
    let hex = digest(&flights())["sha256:".len()..].to_owned();
    assert!(scratch.join("cache").join(hex).join("model.txt").exists());
    let _ = fs::remove_dir_all(scratch);
}

#[cfg(feature = "s3")]
fn moto(arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto.sh");
    let output = std::process::Command::new(script).args(arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "moto.sh {arguments:?} failed:\n{talk}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[cfg(feature = "s3")]
#[ignore = "started by the test of S3, with an environment of its own"]
fn fetch_as_told() {
    let Ok(uri) = std::env::var("FORETELL_TEST_URI") else { return };
    let cache = std::env::var_os("FORETELL_TEST_CACHE").map(PathBuf::from);
    match fetch(Settings { cache, ..settings("s3://models/flights") }, &uri) {
        Ok(bundle) => println!("version {}", bundle.manifest.version),
        Err(fault) => println!("transient={}: {fault}", fault.is_transient()),
    }
}

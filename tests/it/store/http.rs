//! HTTP servers that send too much, too slowly, something else, or somewhere else.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use foretell::model::bundle::{Bundle, BundleError};
use foretell::model::store::{Settings, Store};
use foretell::stop::Stop;

use super::server::{Server, endless, whole};
use super::{digest, fetch, flights, settings};

/// Fetches the flights' bundle from a server.
fn fetch_from(server: &Server) -> Result<Bundle, BundleError> {
    fetch_within(server, Duration::from_secs(20))
}

fn fetch_within(server: &Server, timeout: Duration) -> Result<Bundle, BundleError> {
    let settings = Settings { timeout, ..settings(&server.url("/models")) };
    fetch(settings, &server.url("/models/1"), &flights())
}

/// One that has the flights' bundle, and spoils what `spoil` does.
fn of_flights(
    spoil: impl Fn(&str, usize, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> Server {
    Server::of(flights(), spoil)
}

/// The folders of a cache, but for those in the making.
fn entries(cache: &Path) -> usize {
    let found = fs::read_dir(cache).into_iter().flatten().flatten();
    found.filter(|entry| entry.file_name().len() == 64).count()
}

#[test]
fn a_restart_needs_no_network() {
    let server = of_flights(|_, _, _| false);
    let cache = tempfile::tempdir().unwrap();
    let with_cache = || Settings { cache: Some(cache.path().into()), ..settings(&server.url("/")) };
    let uri = server.url("/models/1/");
    assert_eq!(fetch(with_cache(), &uri, &flights()).unwrap().manifest.version, "1");
    assert_eq!(server.requests(), 3);
    assert_eq!(fetch(with_cache(), &uri, &flights()).unwrap().manifest.version, "1");
    assert_eq!((server.requests(), entries(cache.path())), (3, 1));
    // What is here is still not served to whoever may not have it.
    let elsewhere = Settings { allowed: vec!["s3://models".into()], ..with_cache() };
    assert!(matches!(fetch(elsewhere, &uri, &flights()), Err(BundleError::NotAllowed { .. })));
    // Damaged, it is fetched anew.
    let hex = digest(&flights())["sha256:".len()..].to_owned();
    fs::write(cache.path().join(hex).join("model.txt"), "cut").unwrap();
    fetch(with_cache(), &uri, &flights()).unwrap();
    assert_eq!((server.requests(), entries(cache.path())), (6, 1));
}

#[test]
fn a_cache_that_cannot_be_written_costs_a_fetch_and_no_more() {
    let server = of_flights(|_, _, _| false);
    let cache = Some(PathBuf::from("/proc/no-such-folder"));
    let settings = Settings { cache, ..settings(&server.url("/models")) };
    fetch(settings, &server.url("/models/1"), &flights()).unwrap();
}

/// Not even one that leads to an allowed place, and the place it leads to is not asked.
#[test]
fn redirects_are_not_followed() {
    let elsewhere = Arc::new(of_flights(|_, _, _| false));
    let target = elsewhere.url("");
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = target.clone();
        let server = Server::start(move |path, _, stream| {
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nlocation: {target}{path}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        });
        let fault = fetch_from(&server).unwrap_err();
        assert!(fault.to_string().contains("redirects are not followed"), "{status}: {fault}");
        assert!(!fault.is_transient(), "{status}: {fault}");
        assert_eq!(server.requests(), 1, "{status}");
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[test]
fn what_may_mend_itself_is_told_from_what_will_not() {
    let absent = of_flights(|_, _, _| false);
    let fault =
        fetch(settings(&absent.url("/")), &absent.url("/models/7"), &flights()).unwrap_err();
    assert!(matches!(fault, BundleError::Absent { .. }) && fault.is_transient(), "{fault}");

    let forbidding = Server::start(|_, _, stream| whole(stream, "403 Forbidden", b"go away"));
    let fault = fetch_from(&forbidding).unwrap_err();
    assert!(fault.to_string().contains("refuses") && !fault.is_transient(), "{fault}");
    assert_eq!(forbidding.requests(), 1);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings =
        Settings { timeout: Duration::from_millis(500), ..settings(&format!("http://{nobody}")) };
    let fault = fetch(settings, &format!("http://{nobody}/models/1"), &flights()).unwrap_err();
    assert!(fault.is_transient(), "{fault}");
}

#[test]
fn a_server_that_stumbles_is_asked_again() {
    let server = of_flights(|_, before, stream| {
        let stumbles = before == 0 || before == 2;
        if stumbles {
            whole(stream, "503 Service Unavailable", b"later");
        }
        stumbles
    });
    fetch_from(&server).unwrap();
    assert_eq!(server.requests(), 5);
}

/// Neither what a server declares nor what it sends is taken into memory beyond the bounds.
#[test]
fn sizes_are_bounded() {
    let declared = Server::start(|_, _, stream| {
        endless(stream, "200 OK\r\ncontent-length: 1000000000000", b"{", Duration::ZERO);
    });
    let fault = fetch_from(&declared).unwrap_err();
    assert!(matches!(fault, BundleError::TooLarge { .. }), "{fault}");

    // As much as may be, in chunks, without and with a length that they do not keep.
    for length in ["", "\r\ncontent-length: 100"] {
        let head = format!("200 OK\r\ntransfer-encoding: chunked{length}");
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        let server =
            Server::start(move |_, _, stream| endless(stream, &head, &chunk, Duration::ZERO));
        let began = Instant::now();
        fetch_within(&server, Duration::from_secs(4)).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }

    let error = Server::start(|_, _, stream| {
        let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
        endless(stream, "400 Bad Request\r\ntransfer-encoding: chunked", &chunk, Duration::ZERO);
    });
    let began = Instant::now();
    let fault = fetch_from(&error).unwrap_err();
    assert!(fault.to_string().len() < 1_000, "{fault}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// A byte a tenth of a second.
fn slow() -> Server {
    Server::start(|_, _, stream| {
        endless(stream, "200 OK\r\ncontent-length: 5000", b"{", Duration::from_millis(100));
    })
}

#[test]
fn time_is_bounded() {
    let began = Instant::now();
    let fault = fetch_within(&slow(), Duration::from_millis(700)).unwrap_err();
    assert!(fault.to_string().contains("700 ms (`model.fetch_timeout_ms`)"), "{fault}");
    assert!(fault.is_transient());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_fetch_ends_with_the_wish_to_stop() {
    let server = slow();
    for jitter in [Duration::ZERO, Duration::from_secs(100_000)] {
        let (stop, settings) =
            (Stop::default(), Settings { jitter, ..settings(&server.url("/models")) });
        let store = Store::new(settings, stop.clone()).unwrap();
        let (began, asked) = (Instant::now(), server.requests());
        let fault = thread::scope(|scope| {
            scope.spawn(|| {
                // In the middle of the answer, or of the wait before anything is asked.
                let is_late = || began.elapsed() > Duration::from_secs(5);
                while jitter.is_zero() && server.requests() == asked && !is_late() {
                    thread::yield_now();
                }
                stop.request(Duration::from_secs(1));
            });
            store.fetch(&server.url("/models/1"), &digest(&flights())).unwrap_err()
        });
        assert!(fault.to_string().contains("stopping"), "{fault}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn what_is_not_as_announced_is_refused_and_not_kept() {
    let server = of_flights(|path, _, stream| {
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
    let fault = fetch(settings, &server.url("/models/1"), &flights()).unwrap_err();
    assert!(matches!(fault, BundleError::Digest { .. }) && !fault.is_transient(), "{fault}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

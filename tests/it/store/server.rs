//! HTTP as it is spoken by a few lines, so that a test can speak it badly.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A server on this machine that answers each connection's one request by a function: of the path,
/// and of how many requests there were before.
pub struct Server {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&str, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
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

    /// One that has a bundle at `/models/1`, unless `spoil` answers.
    pub fn of(
        bundle: PathBuf,
        spoil: impl Fn(&str, usize, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |path, before, stream| {
            if spoil(path, before, stream) {
                return;
            }
            match path.strip_prefix("/models/1/").map(|name| fs::read(bundle.join(name))) {
                Some(Ok(bytes)) => whole(stream, "200 OK", &bytes),
                _ => whole(stream, "404 Not Found", b"no such file"),
            }
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> usize {
        self.paths.lock().unwrap().len()
    }
}

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
pub fn whole(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let _ = stream.write_all(body);
}

/// A head, and then bytes for as long as anybody takes them, or ten seconds.
pub fn endless(stream: &mut TcpStream, head: &str, chunk: &[u8], pause: Duration) {
    let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) && stream.write_all(chunk).is_ok() {
        thread::sleep(pause);
    }
}

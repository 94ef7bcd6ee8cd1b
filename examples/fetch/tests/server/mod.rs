//! An HTTP server with good and bad manners, a thread a connection.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Condvar, Mutex};

/// What happened at the server: how often each kind of thing.
#[derive(Default)]
struct Events {
    seen: Mutex<Vec<String>>,
    more: Condvar,
}

impl Events {
    fn add(&self, what: &str) {
        self.seen.lock().unwrap().push(what.to_owned());
        self.more.notify_all();
    }

    /// Until it has happened, without using it up.
    fn wait_for(&self, what: &str) {
        let seen = self.seen.lock().unwrap();
        drop(self.more.wait_while(seen, |seen| !seen.iter().any(|one| one == what)).unwrap());
    }

    /// The same, and uses one of them up.
    fn take(&self, what: &str) {
        let seen = self.seen.lock().unwrap();
        let missing = |seen: &mut Vec<String>| !seen.iter().any(|one| one == what);
        let mut seen = self.more.wait_while(seen, missing).unwrap();
        let at = seen.iter().position(|one| one == what).expect("waited for it");
        seen.remove(at);
    }
}

#[derive(Default)]
struct Count {
    now: usize,
    most: usize,
}

struct Shared {
    events: Events,
    count: Mutex<Count>,
    meet: Barrier,
}

/// Runs until the test ends.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with("http", |shared, stream| serve(&shared, stream))
    }

    /// With the certificate of `tests/tls`.
    pub(crate) fn start_tls() -> Self {
        let file = |name| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let certificates = CertificateDer::pem_file_iter(file("server.pem")).expect("it is there");
        let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("they belong together");
        let config = Arc::new(config);
        Self::with("https", move |shared, stream| {
            let session = rustls::ServerConnection::new(Arc::clone(&config));
            serve(&shared, rustls::StreamOwned::new(session.expect("a session"), stream))
        })
    }

    fn with<F>(scheme: &'static str, serve: F) -> Self
    where
        F: Fn(Arc<Shared>, TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            events: Events::default(),
            count: Mutex::default(),
            meet: Barrier::new(3),
        });
        let serve = Arc::new(serve);
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming().flatten() {
                    let (serve, shared) = (Arc::clone(&serve), Arc::clone(&shared));
                    // What goes wrong is what the test is about.
                    std::thread::spawn(move || serve(shared, stream));
                }
            }
        });
        Self { address, scheme, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Until a request for `/KIND` has arrived; or, for `gone`, until one that
    /// hangs has seen its connection closed. Each counts once.
    pub(crate) fn wait_for(&self, kind: &str) {
        self.shared.events.take(kind);
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Makes it happen.
    pub(crate) fn happens(&self, what: &str) {
        self.shared.events.add(what);
    }

    /// Of those at `/meet`.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.count.lock().unwrap().most
    }
}

/// Answers one request, and closes.
fn serve<S: Read + Write>(shared: &Shared, stream: S) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request)?;
    let (mut header, mut known) = (String::new(), false);
    while stream.read_line(&mut header)? > 2 {
        // "warp:we ft"
        known |= header.trim_end() == "authorization: Basic d2FycDp3ZSBmdA==";
        header.clear();
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts = path[1..].split('/');
    let (kind, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(event) = query.strip_prefix("after=") {
        shared.events.wait_for(event);
    }
    let out = stream.get_mut();
    match kind {
        "hang" | "hang-body" => {
            if kind == "hang-body" {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")?;
                out.flush()?;
            }
            shared.events.add(kind);
            // The end of the connection, in whatever way.
            let _ = stream.read(&mut [0]);
            shared.events.add("gone");
            return Ok(());
        }
        "drop" => out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")?,
        "reset" => {}
        "garbage" => out.write_all(b"who is there?\r\n\r\n")?,
        "trickle" => {
            out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for _ in 0..6 {
                out.write_all(b"8\r\ntrickle \r\n")?;
                out.flush()?;
            }
            out.write_all(b"2\r\n. \r\n0\r\n\r\n")?;
        }
        "empty" => out.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?,
        "loop" => moved(out, "/loop")?,
        "redirect" if value != "0" => {
            let left: u32 = value.parse().expect("a number");
            moved(out, &format!("/redirect/{}", left - 1))?;
        }
        "redirect" => answer(out, "200 OK", b"here")?,
        "spaces" if value.is_empty() => moved(out, "/spaces/a b\u{e9}?c d")?,
        "spaces" if target == "/spaces/a%20b%C3%A9?c%20d" => answer(out, "200 OK", b"spaces")?,
        "to" => moved(out, &format!("http://127.0.0.1:{value}/known"))?,
        "known" if !known => answer(out, "401 Unauthorized", b"no")?,
        "known" if value.is_empty() => moved(out, "/known/there")?,
        "known" => answer(out, "200 OK", b"known")?,
        "relative" if value == "a" => moved(out, "b?to=here")?,
        "relative" => answer(out, "200 OK", b"relative")?,
        "status" => answer(out, &format!("{value} {}", reason(value)), b"no")?,
        "bytes" => answer(out, "200 OK", &vec![b'x'; value.parse().expect("a number")])?,
        "meet" => {
            {
                let mut count = shared.count.lock().unwrap();
                count.now += 1;
                count.most = count.most.max(count.now);
            }
            shared.meet.wait();
            shared.count.lock().unwrap().now -= 1;
            answer(out, "200 OK", b"met")?;
        }
        _ => answer(out, "200 OK", b"welcome")?,
    }
    out.flush()?;
    shared.events.add(kind);
    Ok(())
}

fn answer(out: &mut impl Write, status: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    write!(out, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")?;
    out.write_all(body)
}

fn moved(out: &mut impl Write, location: &str) -> io::Result<()> {
    write!(out, "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n")?;
    out.write_all(b"connection: close\r\n\r\n")
}

fn reason(status: &str) -> &'static str {
    if status == "404" { "Not Found" } else { "Internal Server Error" }
}

//! Where a job is: the server, its credentials, and the names of things there.

use async_nats::ConnectOptions;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// A server and a job on it, as a URL says it:
/// `nats://USER:PASSWORD@HOST:PORT/JOB?creds=FILE&ca=FILE&cert=FILE&key=FILE&workers=N`.
///
/// Only the host is needed. What it prints of itself has no credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    server: String,
    /// And a password; a token has none. The client takes nothing of them from
    /// the URL.
    user: Option<(String, Option<String>)>,
    pub(crate) job: String,
    pub(crate) creds: Option<PathBuf>,
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    /// Of a worker: processes in its pool.
    pub(crate) workers: Option<NonZeroUsize>,
}

impl Place {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        if !matches!(scheme, "nats" | "tls") {
            return Err(format!("{scheme:?} is no scheme of a NATS server: use nats or tls"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may have a slash in it, a host may not.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let user = user.map(|user| match user.split_once(':') {
            Some((user, password)) => (decoded(user), Some(decoded(password))),
            None => (decoded(user), None),
        });
        let (host, job) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() {
            return Err("there is no host in the URL".into());
        }
        let mut place = Self {
            server: format!("{scheme}://{host}"),
            user,
            job: if job.is_empty() { "default".into() } else { job.into() },
            creds: None,
            ca: None,
            client: None,
            workers: None,
        };
        let (mut cert, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "creds" => place.creds = Some(value.into()),
                "ca" => place.ca = Some(value.into()),
                "cert" => cert = Some(value.into()),
                "key" => key = Some(value.into()),
                "workers" => {
                    let workers = value.parse().map_err(|_| format!("workers={value}: no number"));
                    place.workers = Some(workers?);
                }
                _ => return Err(format!("{name:?} is no option of the URL")),
            }
        }
        place.client = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("cert and key go together".into()),
        };
        check_job(&place.job)?;
        Ok(place)
    }

    pub(crate) fn set_job(&mut self, job: &str) -> Result<(), String> {
        check_job(job)?;
        self.job = job.into();
        Ok(())
    }

    /// The server alone.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// What the client is told, but for the credentials file.
    pub(crate) fn options(&self, wait: Duration) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .connection_timeout(wait.min(Duration::from_secs(3)))
            // A link that is down says nothing: two that are not answered, and
            // the connection is made anew.
            .ping_interval(Duration::from_secs(2))
            .subscription_capacity(1 << 17)
            .client_capacity(4_096)
            .request_timeout(Some(Duration::from_secs(5)))
            // Soon at first: a lease goes on meanwhile.
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((20 << attempts.min(5)) as u64)
            });
        options = match self.user.clone() {
            Some((user, Some(password))) => options.user_and_password(user, password),
            Some((token, None)) => options.token(token),
            None => options,
        };
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((cert, key)) = &self.client {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        options
    }

    pub(crate) fn stream(&self) -> String {
        format!("SELVEDGE_{}", self.job)
    }

    pub(crate) fn bucket(&self) -> String {
        format!("SELVEDGE_{}", self.job)
    }

    pub(crate) fn tasks(&self) -> String {
        format!("selvedge.{}.tasks", self.job)
    }

    /// Of all tasks of one build.
    pub(crate) fn tasks_of_build(&self, identity: u64) -> String {
        format!("{}.{identity:016x}", self.tasks())
    }

    pub(crate) fn tasks_of(&self, identity: u64, caller: u64, run: u64) -> String {
        format!("{}.{caller:016x}.{run}", self.tasks_of_build(identity))
    }

    pub(crate) fn consumer(&self, identity: u64) -> String {
        format!("build-{identity:016x}")
    }

    pub(crate) fn results(&self, caller: u64) -> String {
        format!("selvedge.{}.results.{caller:016x}", self.job)
    }

    pub(crate) fn callers(&self) -> String {
        format!("selvedge.{}.callers", self.job)
    }

    pub(crate) fn workers_say(&self) -> String {
        format!("selvedge.{}.workers", self.job)
    }
}

/// `%41` stands for `A`, in a user or a password.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A job's name is part of subjects, streams and buckets.
fn check_job(job: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&job.len()) && job.bytes().all(fits) {
        return Ok(());
    }
    Err(format!("{job:?} is no name of a job: 1 to 64 letters, digits, `-` and `_`"))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.job)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_all_and_prints_no_password() {
        let place =
            Place::parse("tls://ann:s/e@cr%3At@h.example:5/j-1?creds=/a&workers=3").unwrap();
        assert_eq!(place.server(), "tls://h.example:5");
        assert_eq!(place.user, Some(("ann".into(), Some("s/e@cr:t".into()))));
        assert_eq!((place.job.as_str(), place.workers.unwrap().get()), ("j-1", 3));
        for shown in [format!("{place}"), format!("{place:?}")] {
            assert_eq!(shown, "tls://h.example:5/j-1");
        }
        let place = Place::parse("localhost").unwrap();
        assert_eq!((place.server(), place.job.as_str()), ("nats://localhost", "default"));
    }

    #[test]
    fn a_url_that_says_nonsense_is_refused() {
        for bad in [
            "http://h",
            "nats://",
            "nats://h/a.b",
            "nats://h/a*",
            "nats://h?colour=red",
            "nats://h?workers=0",
            "nats://h?cert=a",
        ] {
            assert!(Place::parse(bad).is_err(), "accepted: {bad}");
        }
    }
}

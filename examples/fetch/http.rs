//! The HTTP client: one URL, its redirects, its body.

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, percent_decode_str, percent_encode};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// A client with its pool of connections.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

const REDIRECTS: usize = 10;
/// A connection that is not used is closed after this, for the sake of others.
const IDLE: Duration = Duration::from_secs(1);
/// How often one looks whether there are descriptors again.
const AGAIN: Duration = Duration::from_millis(20);

impl Http {
    /// Trusts the certificates that the system trusts, and those in `more`.
    pub(crate) fn new(more: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        // Without any, HTTP still works, and HTTPS says what is wrong.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = more {
            trust(&mut roots, path).with_context(|| format!("--cacert {}", path.display()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(Self { client: client.build(connector) })
    }

    /// Asks for `url` and follows redirects. Tells `status` of each response.
    pub(crate) async fn get(
        &self,
        url: &str,
        mut status: impl FnMut(StatusCode),
    ) -> anyhow::Result<Body> {
        let mut url = Url::parse(url).context("not a URL")?;
        for _ in 0..=REDIRECTS {
            ensure!(matches!(url.scheme(), "http" | "https"), "not an HTTP or HTTPS URL");
            let response = loop {
                match self.ask(&url).await {
                    Err(error) if worth_another_try(&error).await => {}
                    answered => break answered?,
                }
            };
            status(response.status());
            if let Some(next) = redirect(&url, &response)? {
                url = next;
                continue;
            }
            ensure!(response.status().is_success(), "HTTP {}", response.status());
            return Ok(Body(response.into_body()));
        }
        bail!("more than {REDIRECTS} redirects");
    }

    async fn ask(&self, url: &Url) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::get(&url[..url::Position::AfterQuery])
            .header(header::USER_AGENT, concat!("selvedge-fetch/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*");
        if let Some(credentials) = credentials(url) {
            request = request.header(header::AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::new()).context("not a request")?;
        Ok(self.client.request(request).await?)
    }
}

fn trust(roots: &mut rustls::RootCertStore, path: &Path) -> anyhow::Result<()> {
    let file = std::fs::read(path)?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&file) {
        roots.add(certificate.map_err(|error| anyhow::anyhow!("{error}"))?)?;
        count += 1;
    }
    ensure!(count > 0, "no certificate in it");
    Ok(())
}

/// The name and the password of a URL, as HTTP wants them.
fn credentials(url: &Url) -> Option<String> {
    let (name, password) = (url.username(), url.password());
    if name.is_empty() && password.is_none() {
        return None;
    }
    let mut both: Vec<u8> = percent_decode_str(name).collect();
    both.push(b':');
    both.extend(percent_decode_str(password.unwrap_or_default()));
    Some(format!("Basic {}", BASE64_STANDARD.encode(both)))
}

/// Whether to try again what failed: if the process had no descriptor left, and
/// then after a while, in which others may close theirs.
pub(crate) async fn worth_another_try(error: &anyhow::Error) -> bool {
    let worth = is_out_of_descriptors(error);
    if worth {
        tokio::time::sleep(AGAIN).await;
    }
    worth
}

fn is_out_of_descriptors(error: &anyhow::Error) -> bool {
    /// Of this process, and of the system.
    const NO_MORE: [i32; 2] = [24, 23];
    let codes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    cfg!(unix) && { codes }.any(|code| NO_MORE.contains(&code))
}

/// What a response carries.
pub(crate) struct Body(Incoming);

impl Body {
    /// The next piece of it.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// What must not stand in a URL, and does in what servers send.
const STRAY: &AsciiSet = &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// Where the response sends us, if it does.
fn redirect<B>(base: &Url, response: &Response<B>) -> anyhow::Result<Option<Url>> {
    let code = response.status().as_u16();
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = percent_encode(location.as_bytes(), STRAY).to_string();
    let mut next = base
        .join(&location)
        .with_context(|| format!("a redirect to {location:?}, which is not a URL"))?;
    // Who sent us there may know us there too, but no other server.
    if next.origin() == base.origin() && next.username().is_empty() {
        let known = next.set_username(base.username());
        let _ = known.and_then(|()| next.set_password(base.password()));
    }
    Ok(Some(next))
}

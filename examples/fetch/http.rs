//! The HTTP client: one URL, its redirects, its body.

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::Arc;

/// A client with its pool of connections.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

const REDIRECTS: usize = 10;

impl Http {
    /// Trusts the certificates that the system trusts.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        // Without any, HTTP still works, and HTTPS says what is wrong.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
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
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Asks for `url` and follows redirects. Tells `status` of each response.
    pub(crate) async fn get(
        &self,
        url: &str,
        mut status: impl FnMut(StatusCode),
    ) -> anyhow::Result<Body> {
        let mut uri: Uri = url.parse().context("not a URL")?;
        for _ in 0..=REDIRECTS {
            let scheme = uri.scheme_str();
            ensure!(matches!(scheme, Some("http" | "https")), "not an HTTP or HTTPS URL");
            let request = Request::get(&uri)
                .header(header::USER_AGENT, concat!("selvedge-fetch/", env!("CARGO_PKG_VERSION")))
                .header(header::ACCEPT, "*/*")
                .body(Empty::new())
                .context("not a request")?;
            let response = self.client.request(request).await?;
            status(response.status());
            if let Some(next) = redirect(&uri, &response)? {
                uri = next;
                continue;
            }
            ensure!(response.status().is_success(), "HTTP {}", response.status());
            return Ok(Body(response.into_body()));
        }
        bail!("more than {REDIRECTS} redirects");
    }
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

/// Where the response sends us, if it does.
fn redirect<B>(base: &Uri, response: &Response<B>) -> anyhow::Result<Option<Uri>> {
    let code = response.status().as_u16();
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = location.to_str().context("a redirect to what is not a URL")?;
    let next = resolve(base, location);
    next.parse().map(Some).with_context(|| format!("a redirect to {next:?}, which is not a URL"))
}

/// `location` as seen from `base` (RFC 3986, 5.2, but for dots in paths, which
/// are the server's to resolve).
fn resolve(base: &Uri, location: &str) -> String {
    let scheme = base.scheme_str().unwrap_or("http");
    let host = base.authority().map_or("", |authority| authority.as_str());
    let path = base.path();
    match location {
        _ if location.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':')) => {
            location.to_owned()
        }
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{host}{location}"),
        _ if location.starts_with('?') => format!("{scheme}://{host}{path}{location}"),
        "" => base.to_string(),
        _ => {
            let folder = &path[..=path.rfind('/').unwrap_or(0)];
            format!("{scheme}://{host}{folder}{location}")
        }
    }
}

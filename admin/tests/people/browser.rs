//! As much of a browser as signing in takes: cookies by host and path, redirects, forms. It runs no script.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, Url};

use crate::service::Service;

/// Host, path and name.
type Place = (String, String, String);

pub(crate) struct Browser {
    client: Client,
    cookies: BTreeMap<Place, String>,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The first attribute's value that stands behind this text.
    pub(crate) fn after(&self, text: &str) -> String {
        let rest = self.body.split_once(text).unwrap_or_else(|| panic!("no {text:?} in {}", self.body)).1;
        rest.split('"').next().unwrap().replace("&amp;", "&")
    }

    pub(crate) fn csrf(&self) -> String {
        self.after("name=\"csrf\" value=\"")
    }
}

impl Browser {
    pub(crate) fn new(service: &Service) -> Self {
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        let pem = service.ca_pem.as_bytes();
        for der in
            <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::pem_slice_iter(pem)
        {
            roots.add(der.unwrap()).unwrap();
        }
        let tls =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .build()
            .unwrap();
        Self { client, cookies: BTreeMap::new() }
    }

    pub(crate) fn plant(&mut self, host: &str, name: &str, value: &str) {
        self.cookies.insert((host.into(), "/".into(), name.into()), value.into());
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&String> {
        self.cookies.iter().find(|((_, _, known), _)| known == name).map(|(_, value)| value)
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        url: &str,
        fields: &[(&str, &str)],
        form: Option<&[(&str, &str)]>,
    ) -> Page {
        let url = Url::parse(url).unwrap();
        let host = url.host_str().unwrap().to_owned();
        let sent = self
            .cookies
            .iter()
            .filter(|((of, path, _), _)| *of == host && url.path().starts_with(path.as_str()));
        let sent: Vec<String> = sent.map(|((_, _, name), value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, url.clone());
        if !sent.is_empty() {
            request = request.header("cookie", sent.join("; "));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Some(form) = form {
            let mut body = Url::parse("x:/").unwrap();
            body.query_pairs_mut().extend_pairs(form);
            let body = body.query().unwrap_or_default().to_owned();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        for set in headers.get_all(SET_COOKIE) {
            self.take(&host, set.to_str().unwrap());
        }
        Page { url, status: answer.status().as_u16(), headers, body: answer.text().await.unwrap() }
    }

    /// An answer that goes on.
    pub(crate) async fn stream(&mut self, url: &str) -> reqwest::Response {
        let sent: Vec<String> =
            self.cookies.iter().map(|((_, _, name), value)| format!("{name}={value}")).collect();
        let answer = self.client.get(url).header("cookie", sent.join("; ")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer
    }

    fn take(&mut self, host: &str, set: &str) {
        let mut parts = set.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
        let path = attributes.iter().find_map(|one| one.strip_prefix("path=")).unwrap_or("/");
        // Paths are case-sensitive.
        let path = set
            .split("; ")
            .find_map(|one| one.strip_prefix("path=").or(one.strip_prefix("Path=")))
            .unwrap_or(path);
        let place = (host.to_owned(), path.to_owned(), name.to_owned());
        let over =
            attributes.iter().any(|one| one == "max-age=0" || one.starts_with("expires=thu, 01 jan 1970"));
        if over {
            self.cookies.remove(&place)
        } else {
            self.cookies.insert(place, value.to_owned())
        };
    }

    pub(crate) async fn get(&mut self, url: &str) -> Page {
        self.send(Method::GET, url, &[], None).await
    }

    /// As a page of ours would.
    pub(crate) async fn post(&mut self, service: &Service, path: &str, form: &[(&str, &str)]) -> Page {
        let url = format!("{}{path}", service.url);
        self.send(
            Method::POST,
            &url,
            &[("origin", &service.url), ("sec-fetch-site", "same-origin")],
            Some(form),
        )
        .await
    }

    /// Where a page leads, unless it leads to `but`.
    pub(crate) async fn follow(&mut self, mut page: Page, but: &str) -> Page {
        for _ in 0..20 {
            let Some(to) = page.headers.get(LOCATION) else { return page };
            let to = page.url.join(to.to_str().unwrap()).unwrap();
            if !but.is_empty() && to.as_str().contains(but) {
                return page;
            }
            page = self.get(to.as_str()).await;
        }
        panic!("too many redirects: {page:?}");
    }

    /// Through the provider's pages, up to what leads back to `but`, or to the end.
    pub(crate) async fn sign_in_until(&mut self, service: &Service, who: &str, to: &str, but: &str) -> Page {
        let page = self.get(&format!("{}/sign-in/go{to}", service.url)).await;
        let mut page = self.follow(page, but).await;
        for _ in 0..2 {
            if !page.body.contains("name=\"prompt\"") {
                break;
            }
            let prompt = page.after("name=\"prompt\" value=\"");
            let action = page.url.join(&page.after("action=\"")).unwrap();
            let form = [("prompt", prompt.as_str()), ("login", who), ("password", "any")];
            let answered = self.send(Method::POST, action.as_str(), &[], Some(&form)).await;
            page = self.follow(answered, but).await;
        }
        page
    }

    pub(crate) async fn sign_in(&mut self, service: &Service, who: &str) -> Page {
        let page = self.sign_in_until(service, who, "", "").await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.url.as_str().starts_with(&service.url), "{page:?}");
        page
    }
}

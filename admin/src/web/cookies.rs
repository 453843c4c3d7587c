//! Cookies: read and written in one place. Each is `HttpOnly`, `SameSite=Lax` (a link in a message must find its reader signed
//! in; what changes things is guarded by more than cookies) and, where the pages are behind TLS, `Secure` and `__Host-`.

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Origin;

/// Who somebody is, once they signed in.
pub(super) const VISIT: &str = "weir";
/// What belongs to one attempt at signing in.
pub(super) const SIGNING_IN: &str = "weir-signing-in";

fn name(origin: &Origin, name: &str) -> String {
    if origin.secure { format!("__Host-{name}") } else { name.to_owned() }
}

/// The one cookie of this name; where a browser sends several, somebody else planted one, and none counts.
pub(super) fn read<'a>(origin: &Origin, headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let wanted = name(origin, wanted);
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value);
    found.next().filter(|_| found.next().is_none())
}

/// For as long as the browser runs, or for so many seconds; none at all with 0.
pub(super) fn write(
    origin: &Origin,
    wanted: &str,
    value: &str,
    seconds: Option<u32>,
) -> Option<(HeaderName, HeaderValue)> {
    let mut text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax", name(origin, wanted));
    if origin.secure {
        text.push_str("; Secure");
    }
    if let Some(seconds) = seconds {
        text.push_str(&format!("; Max-Age={seconds}"));
    }
    Some((SET_COOKIE, HeaderValue::from_str(&text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(secure: bool) -> Origin {
        Origin { url: String::new(), host: String::new(), secure }
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name_and_only_if_there_is_one() {
        let headers = |text: &str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(text).unwrap())]);
        let one = headers("a=b; __Host-weir=id; weir=other");
        assert_eq!(read(&origin(true), &one, VISIT), Some("id"));
        assert_eq!(read(&origin(false), &one, VISIT), Some("other"));
        for none in ["", "xweir=id", "weir=1; weir=2", "weirx=1"] {
            assert_eq!(read(&origin(false), &headers(none), VISIT), None, "{none}");
        }
    }

    #[test]
    fn behind_tls_cookies_are_the_hosts_alone() {
        let (_, value) = write(&origin(true), VISIT, "id", None).unwrap();
        assert_eq!(value, "__Host-weir=id; Path=/; HttpOnly; SameSite=Lax; Secure");
        let (_, value) = write(&origin(false), VISIT, "", Some(0)).unwrap();
        assert_eq!(value, "weir=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
        assert!(write(&origin(true), VISIT, "a\nb", None).is_none());
    }
}

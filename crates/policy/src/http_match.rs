//! A rule's HTTP conditions against a request's head and body.
//!
//! The path arrives decoded and normalised, exactly as it will be sent. The query arrives as sent, and is decoded here.

use crate::rule::pattern_indexes;
use crate::sql_match::{Hits, hit};
use crate::table;
use crate::trace::Observe;
use crate::{Error, Http, PatternIndex, glob};

#[derive(Debug)]
pub(crate) struct HttpMatch {
    methods: Vec<String>,
    hosts: Vec<String>,
    paths: Vec<String>,
    query: Vec<table::Claim>,
    pub(crate) patterns: Vec<PatternIndex>,
}

impl HttpMatch {
    pub(crate) fn new(rule: &str, http: &table::Http, patterns: &[table::Pattern]) -> Result<Self, Error> {
        Ok(Self {
            methods: http.methods.clone(),
            hosts: http.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            paths: http.paths.clone(),
            query: http.query.clone(),
            patterns: pattern_indexes(rule, &http.patterns, patterns)?,
        })
    }

    pub(crate) fn matches(&self, http: &Http<'_>, hits: Hits<'_>, observe: &mut impl Observe) -> bool {
        self.head_matches(http, observe)
            && (self.patterns.is_empty()
                || observe.condition(hit(hits, &self.patterns), || "a pattern in the request".into()))
    }

    /// Whether everything holds that is asked of the head alone.
    pub(crate) fn head_matches(&self, http: &Http<'_>, observe: &mut impl Observe) -> bool {
        let method = || self.methods.iter().any(|method| method.eq_ignore_ascii_case(http.method));
        let path = || self.paths.iter().any(|template| path_fits(template, http.path));
        let query = || self.query.iter().all(|wanted| query_has(wanted, http.query.unwrap_or_default()));
        (self.methods.is_empty() || observe.condition(method(), || format!("method is {}", http.method)))
            && (self.hosts.is_empty()
                || observe.condition(self.host_fits(http.host), || format!("host is {}", http.host)))
            && (self.paths.is_empty() || observe.condition(path(), || format!("path is {}", http.path)))
            && (self.query.is_empty() || observe.condition(query(), || "the query has its fields".into()))
    }

    fn host_fits(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_end_matches('.');
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return glob::any(&self.hosts, &name.to_ascii_lowercase());
        }
        glob::any(&self.hosts, name)
    }
}

/// Segment by segment; one trailing slash on either side means nothing.
fn path_fits(template: &str, path: &str) -> bool {
    let mut path = segments(path);
    let mut template = segments(template).peekable();
    while let Some(wanted) = template.next() {
        if wanted == "**" && template.peek().is_none() {
            return true;
        }
        let Some(segment) = path.next() else { return false };
        let is_variable = wanted.starts_with('{') && wanted.ends_with('}');
        if !is_variable && !glob::matches(wanted, segment) {
            return false;
        }
    }
    path.next().is_none()
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

fn query_has(wanted: &table::Claim, query: &str) -> bool {
    query.split(['&', ';']).filter(|pair| !pair.is_empty()).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded(name) == wanted.name && glob::any(&wanted.values, &decoded(value))
    })
}

/// Percent-decoding and `+`. What is not UTF-8 afterwards is replaced, as servers commonly do.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (byte, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_whole_segments() {
        for (template, path, expected) in [
            ("/v1/patients/{id}", "/v1/patients/7", true),
            ("/v1/patients/{id}", "/v1/patients/7/", true),
            ("/v1/patients/{id}", "/v1/patients", false),
            ("/v1/patients/{id}", "/v1/patients/7/notes", false),
            ("/v1/**", "/v1/patients/7/notes", true),
            ("/v1/**", "/v1", true),
            ("/v1/**", "/v1/", true),
            ("/v1/**", "/v10/x", false),
            ("/**", "/", true),
            ("/v1/*.csv", "/v1/all.csv", true),
            ("/v1/*.csv", "/v1/a/all.csv", false),
            ("/v1/{a}/x/{b}", "/v1/1/x/2", true),
            ("/v1/{a}/x/{b}", "/v1/1/y/2", false),
            ("/", "/", true),
            ("/", "/a", false),
        ] {
            assert_eq!(path_fits(template, path), expected, "{template} {path}");
        }
    }

    #[test]
    fn query_fields_are_decoded_before_they_are_compared() {
        let wanted = table::Claim { name: "export".into(), values: vec!["all*".into()] };
        for (query, expected) in [
            ("export=all", true),
            ("a=1&export=all%20rows", true),
            ("%65xport=%61ll", true),
            ("a=1;export=all", true),
            ("export=some", false),
            ("exports=all", false),
            ("", false),
        ] {
            assert_eq!(query_has(&wanted, query), expected, "{query}");
        }
    }
}

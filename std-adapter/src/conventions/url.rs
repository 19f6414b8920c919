//! URLs without secrets, authorities in parts.

use core::fmt::{self, Display, Write};
use http::Uri;
use http::uri::Scheme;
use std::borrow::Cow;

const REDACTED: &str = "REDACTED";

/// Keys of a query whose values are credentials of pre-signed URLs. SPEC: HTTP spans, "url.query".
const SECRETS: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// How a query is to be recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Keys whose values are secrets besides those that are always.
    pub(crate) secrets: Vec<String>,
}

impl Query {
    fn is_secret(&self, key: &str) -> bool {
        SECRETS.contains(&key) || self.secrets.iter().any(|secret| secret == key)
    }
    /// The query with the values of secrets replaced; copied only if there is one.
    pub(crate) fn redact<'q>(&self, query: &'q str) -> Cow<'q, str> {
        let key_of = |pair: &'q str| pair.split_once('=').map(|(key, _)| key);
        let is_secret = |pair| key_of(pair).is_some_and(|key| self.is_secret(key));
        if !query.split('&').any(is_secret) {
            return Cow::Borrowed(query);
        }
        let pairs = query.split('&').map(|pair| match key_of(pair) {
            Some(key) if self.is_secret(key) => Cow::Owned(format!("{key}={REDACTED}")),
            _ => Cow::Borrowed(pair),
        });
        Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
    }
}

/// `url.full`: without user name, password and secrets of the query.
pub(crate) struct Url<'a>(pub(crate) &'a Uri, pub(crate) &'a Query);

impl Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Url(uri, query) = self;
        if let Some(authority) = uri.authority() {
            let scheme = uri.scheme().unwrap_or(&Scheme::HTTP);
            write!(f, "{scheme}://")?;
            match authority.as_str().rsplit_once('@') {
                Some((user, host)) => {
                    f.write_str(REDACTED)?;
                    if user.contains(':') {
                        write!(f, ":{REDACTED}")?;
                    }
                    write!(f, "@{host}")?;
                }
                None => f.write_str(authority.as_str())?,
            }
        }
        f.write_str(uri.path())?;
        if let Some(text) = uri.query() {
            f.write_char('?')?;
            f.write_str(&query.redact(text))?;
        }
        Ok(())
    }
}

/// Host and port of an authority or a `Host` header; brackets of an IPv6 address are not part of it.
pub(crate) fn split_authority(authority: &str) -> (&str, Option<u16>) {
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    if let Some(rest) = host_and_port.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match host_and_port.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (host_and_port, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        let secrets = vec!["token".to_owned()];
        Url(&text.parse().unwrap(), &Query { secrets }).to_string()
    }

    #[test]
    fn secrets_stay_here() {
        for (from, to) in [
            ("http://h/p?q=1", "http://h/p?q=1"),
            (
                "https://u:p@h:8/p?sig=abc&x=1",
                "https://REDACTED:REDACTED@h:8/p?sig=REDACTED&x=1",
            ),
            ("https://u@h/?token=t", "https://REDACTED@h/?token=REDACTED"),
            ("http://h/?Signature=", "http://h/?Signature=REDACTED"),
            ("http://h/?sigs=1&sig", "http://h/?sigs=1&sig"),
            ("/p?AWSAccessKeyId=a=b", "/p?AWSAccessKeyId=REDACTED"),
        ] {
            assert_eq!(url(from), to);
        }
        let nothing = Query::default();
        assert!(matches!(
            nothing.redact("a=1&b=2"),
            Cow::Borrowed("a=1&b=2")
        ));
    }

    #[test]
    fn authorities_have_a_host_and_may_have_a_port() {
        for (text, host, port) in [
            ("shop.test", "shop.test", None),
            ("shop.test:8080", "shop.test", Some(8080)),
            ("u:p@shop.test:8080", "shop.test", Some(8080)),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("shop.test:", "shop.test", None),
            ("shop.test:99999", "shop.test", None),
            ("", "", None),
        ] {
            assert_eq!(split_authority(text), (host, port), "{text}");
        }
    }
}

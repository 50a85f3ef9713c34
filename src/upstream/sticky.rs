//! Clients that stay at the backend that served them: a cookie names it, and only we can tell which it names.
//!
//! The value is a keyed hash (HMAC-SHA256, cut to 128 bits) of the backend's address. Nothing is remembered of any client:
//! every process with the same secret makes and understands the same values, before and after a reload, an upgrade, or a
//! change of the list. Deliberately absent: deciding whether the backend can take the request, which is the pick's matter.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use super::backend::Backend;
use crate::balance::Key;
use crate::config::StickyCookie;
use crate::cookies;
use crate::identity::Scheme;

/// As many bytes as the hash that it keys has.
const SECRET: usize = 32;

/// Fewer can be guessed.
const SHORTEST_SECRET: usize = 16;

/// Characters of a value: 128 bits, which nobody guesses.
const VALUE: usize = 32;

/// So many of them find the backend; the others show that the value is ours.
const NAMES: usize = 16;

/// Keeps these hashes apart from any other use of the same secret.
const PURPOSE: &[u8] = b"evenkeel sticky backend\0";

/// What ties a request to a backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affinity {
    /// What it is hashed by, where the policy hashes and the request has it.
    pub key: Option<Key>,
    /// The place of the backend at which its client stays.
    pub place: Option<usize>,
}

/// What values are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

impl Secret {
    /// One that nobody knows.
    ///
    /// # Errors
    /// If the machine has no chance to give.
    pub fn random() -> io::Result<Secret> {
        let mut bytes = [0; SECRET];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
        Ok(Secret(bytes.into()))
    }

    /// The content of a file, without the white space around it.
    ///
    /// # Errors
    /// If it cannot be read, or is so short that it could be guessed.
    pub fn read(path: &Path) -> io::Result<Secret> {
        let content = std::fs::read(path)?;
        let secret = content.trim_ascii();
        if secret.len() < SHORTEST_SECRET {
            return Err(io::Error::other(format!("a secret has at least {SHORTEST_SECRET} bytes")));
        }
        Ok(Secret(secret.into()))
    }

    /// One that was handed over.
    pub fn given(bytes: &[u8]) -> Secret {
        Secret(bytes.into())
    }

    /// What is handed over.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The cookies of one upstream's backends.
#[derive(Debug)]
pub struct Sticky {
    name: String,
    /// By the first characters of the value: the place, and the other characters.
    places: HashMap<[u8; NAMES], (usize, [u8; VALUE - NAMES])>,
    /// By place.
    cookies: Box<[Cookie]>,
}

/// The field that sets one cookie.
#[derive(Debug)]
struct Cookie {
    plain: HeaderValue,
    secure: HeaderValue,
}

impl Sticky {
    /// Cookies as configured for these backends.
    pub fn new(config: &StickyCookie, secret: &Secret, backends: &[Arc<Backend>]) -> Sticky {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let mut places = HashMap::new();
        let mut cookies = Vec::new();
        for (place, backend) in backends.iter().enumerate() {
            let value = value(&key, &backend.name);
            if let (Some(names), Some(rest)) = (value.first_chunk(), value.last_chunk()) {
                places.insert(*names, (place, *rest));
            }
            cookies.push(Cookie::new(config, &value));
        }
        Sticky { name: config.name.clone(), places, cookies: cookies.into() }
    }

    /// What the cookie is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The place of the backend that the client's cookie names. One that is forged, broken, or of a backend that is no more
    /// is none.
    pub fn place(&self, fields: &HeaderMap) -> Option<usize> {
        cookies::values(fields, &self.name).find_map(|value| {
            let value: &[u8; VALUE] = value.try_into().ok()?;
            let (names, rest): (&[u8; NAMES], &[u8; VALUE - NAMES]) = (value.first_chunk()?, value.last_chunk()?);
            let (place, ours) = self.places.get(names)?;
            bool::from(ours.ct_eq(rest)).then_some(*place)
        })
    }

    /// What sets the cookie of the backend at this place, for a client that speaks like this.
    pub fn cookie(&self, place: usize, scheme: Scheme) -> Option<HeaderValue> {
        let cookie = self.cookies.get(place)?;
        Some(match scheme {
            Scheme::Http => cookie.plain.clone(),
            Scheme::Https => cookie.secure.clone(),
        })
    }
}

impl Cookie {
    fn new(config: &StickyCookie, value: &[u8]) -> Cookie {
        let age = config.max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
        let value = String::from_utf8_lossy(value);
        let plain = format!("{}={value}; Path=/{age}; HttpOnly; SameSite=Lax", config.name);
        let field = |text: String| {
            let field = HeaderValue::from_maybe_shared(bytes::Bytes::from(text));
            debug_assert!(field.is_ok(), "a checked name and hexadecimal digits are fit for a field");
            field.unwrap_or(HeaderValue::from_static(""))
        };
        Cookie { secure: field(format!("{plain}; Secure")), plain: field(plain) }
    }
}

/// The hexadecimal digits that stand for a backend.
fn value(key: &hmac::Key, backend: &str) -> [u8; VALUE] {
    let mut context = hmac::Context::with_key(key);
    context.update(PURPOSE);
    context.update(backend.as_bytes());
    let tag = context.sign();
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'0', |digit| digit as u8);
    let mut digits = tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    std::array::from_fn(|_| digits.next().unwrap_or(b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::upstream::Upstream;
    use crate::upstream::resolve::resolve;
    use http::header::COOKIE;

    fn sticky(backends: &[&str], secret: &[u8]) -> Sticky {
        let backends = backends.iter().map(|address| config::Backend::new(address.parse().unwrap())).collect();
        let config = config::Upstream::new("app", backends);
        let resolved = resolve(&config).unwrap();
        let upstream = Upstream::new(config, &resolved, None, None, std::time::Instant::now());
        Sticky::new(&StickyCookie::default(), &Secret::given(secret), &upstream.backends)
    }

    fn sent(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&format!("a=b; evenkeel={value}")).unwrap())])
    }

    fn value_of(sticky: &Sticky, place: usize) -> String {
        let field = sticky.cookie(place, Scheme::Http).unwrap();
        let pair = field.to_str().unwrap().split(';').next().unwrap();
        pair.strip_prefix("evenkeel=").unwrap().to_owned()
    }

    const SECRET: &[u8] = b"a secret of some length";

    #[test]
    fn a_value_means_its_backend_to_everybody_with_the_secret_wherever_that_stands_in_the_list() {
        let (one, other) =
            (sticky(&["127.0.0.1:1", "127.0.0.1:2"], SECRET), sticky(&["127.0.0.1:3", "127.0.0.1:2"], SECRET));
        assert_eq!(value_of(&one, 1), value_of(&other, 1));
        assert_eq!((one.place(&sent(&value_of(&one, 0))), one.place(&sent(&value_of(&one, 1)))), (Some(0), Some(1)));
        assert_eq!(other.place(&sent(&value_of(&one, 0))), None, "that backend is no more");
        let foreign = sticky(&["127.0.0.1:1", "127.0.0.1:2"], b"another secret of length");
        assert_eq!(foreign.place(&sent(&value_of(&one, 1))), None);
    }

    #[test]
    fn a_value_that_differs_in_any_character_or_in_length_means_nobody() {
        let sticky = sticky(&["127.0.0.1:1"], SECRET);
        let value = value_of(&sticky, 0);
        for place in 0..value.len() {
            let mut forged = value.clone().into_bytes();
            forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(sticky.place(&sent(std::str::from_utf8(&forged).unwrap())), None);
        }
        for broken in ["", "127.0.0.1:1", &value[1..], &format!("{value}0"), &value.to_uppercase()] {
            assert!(sticky.place(&sent(broken)).is_none() || broken == value, "{broken}");
        }
    }

    #[test]
    fn what_is_short_enough_to_be_guessed_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "  fifteen bytes..\n").unwrap();
        assert!(Secret::read(&path).is_err());
        std::fs::write(&path, "sixteen bytes...\n").unwrap();
        assert_eq!(Secret::read(&path).unwrap().bytes(), b"sixteen bytes...");
        assert_eq!(format!("{:?}", Secret::read(&path).unwrap()), "…");
        assert_ne!(Secret::random().unwrap(), Secret::random().unwrap());
    }
}

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use ureq::http::header::{HeaderMap, RETRY_AFTER};
use ureq::http::{StatusCode, Uri};

use super::fetch::BitcoinFetch;

/// Larger answers than this are none of the expected ones.
const LARGEST_BODY: u64 = 20_000_000;

/// Gets texts, again where that may help, and keeps the list of what it asked for.
pub(super) struct Client<'a> {
    settings: &'a BitcoinFetch,
    progress: &'a mut dyn FnMut(&str),
    pub(super) urls: Vec<String>,
}

/// Why an attempt failed.
enum Failure {
    Final(String),
    /// Worth another attempt, after the wait that the server asks for.
    Passing(String, Option<Duration>),
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a BitcoinFetch, progress: &'a mut dyn FnMut(&str)) -> Self {
        Self { settings, progress, urls: Vec::new() }
    }

    pub(super) fn say(&mut self, line: &str) {
        (self.progress)(line);
    }

    /// The body of an answer with status 200.
    pub(super) fn get(&mut self, url: &str) -> Result<String, String> {
        let BitcoinFetch { attempts, first_wait, longest_wait, .. } = *self.settings;
        self.say(&format!("asking {url}"));
        self.urls.push(url.to_owned());
        let mut back_off = first_wait.min(longest_wait);
        for attempt in 1.. {
            let (reason, asked) = match self.attempt(url) {
                Ok(text) => return Ok(text),
                Err(Failure::Final(reason)) => return Err(format!("{url}: {reason}")),
                Err(Failure::Passing(reason, asked)) => (reason, asked),
            };
            if attempt >= attempts {
                return Err(format!("{url}: {reason}, {attempt} times"));
            }
            if let Some(asked) = asked.filter(|&asked| asked > longest_wait) {
                let most = longest_wait.as_secs_f64();
                let asked = asked.as_secs_f64();
                return Err(format!(
                    "{url}: {reason}; it asks for a wait of {asked} s, above {most} s"
                ));
            }
            let wait = asked.unwrap_or(back_off);
            self.say(&format!("{reason}; attempt {} in {} s", attempt + 1, wait.as_secs_f64()));
            std::thread::sleep(wait);
            back_off = back_off.saturating_mul(2).min(longest_wait);
        }
        Err(format!("{url}: no attempt was made"))
    }

    fn attempt(&self, url: &str) -> Result<String, Failure> {
        let local = is_loopback(url);
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(self.settings.timeout))
            .http_status_as_error(false)
            .https_only(!local)
            .user_agent(concat!("seq2seq-workbook/", env!("CARGO_PKG_VERSION")));
        if local {
            config = config.proxy(None).max_redirects(0);
        }
        let agent = config.build().new_agent();
        let mut response = agent.get(url).call().map_err(classify)?;
        let status = response.status();
        if status == StatusCode::OK {
            let body = response.body_mut().with_config().limit(LARGEST_BODY);
            return body.read_to_string().map_err(classify);
        }
        let reason = format!("HTTP status {status}");
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        if passing.contains(&status) || status.is_server_error() {
            return Err(Failure::Passing(reason, retry_after(response.headers())));
        }
        Err(Failure::Final(reason))
    }
}

/// Whether a URL names this machine, the only place that may be asked without encryption.
pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn classify(error: ureq::Error) -> Failure {
    let reason = error.to_string();
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Protocol(_)
        | ureq::Error::BodyStalled => Failure::Passing(reason, None),
        _ => Failure::Final(reason),
    }
}

/// What a server asks for, as seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::from(DateTime::parse_from_rfc2822(text).ok()?);
    Some(then.duration_since(SystemTime::now()).unwrap_or_default())
}

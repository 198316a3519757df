use chrono::{DateTime, Days, NaiveDate, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::check::Gaps;
use super::http::{Client, is_loopback};
use super::prices::Prices;
use super::sources::{Range, Series, bitstamp, coin_metrics, ecb};
use super::{Day, cents, file, parse_date};
use crate::error::{Error, Result, check_sizes};
use crate::file::Beside;

/// Days that an exchange rate is used for after its own: Good Friday to Easter Monday.
const FILLED_RATES: u64 = 4;
/// Days at the end that a source may still lack, where the last day was not asked for.
const LATE_DAYS: u64 = 3;

/// How the euro prices came about.
const NATIVE: &str = "native: as published by the source";
const DERIVED: &str = "derived: USD divided by the ECB reference rate of the day, or of the last day \
                       with one, at most 4 days before; rounded to cents";

/// Settings of [`fetch_bitcoin`].
#[derive(Clone, Debug, PartialEq)]
pub struct BitcoinFetch {
    /// First day; default `2014-09-17`.
    pub first_day: String,
    /// Last day, before today; `None`, the default, is the last one that is over (UTC) and published.
    pub last_day: Option<String>,
    /// Where to write, a name in `.csv` or `.parquet`; `None`, the default, is `btc_usd_eur.csv` in
    /// the project's `data/`, where [`bitcoin_prices`](super::bitcoin_prices) finds it.
    pub file: Option<PathBuf>,
    /// Time for one request; default 30 s.
    pub timeout: Duration,
    /// Attempts for each request. At least 1; default 5.
    pub attempts: usize,
    /// Wait before the second attempt, doubled before each further one; default 1 s.
    pub first_wait: Duration,
    /// Longest wait. A server that asks for more is given up; default 60 s.
    pub longest_wait: Duration,
    /// Where Bitstamp is. Here and below: HTTPS, or this very machine.
    pub bitstamp: String,
    /// Where Coin Metrics' community interface is.
    pub coin_metrics: String,
    /// Where the European Central Bank's data are.
    pub ecb: String,
}

impl Default for BitcoinFetch {
    fn default() -> Self {
        Self {
            first_day: "2014-09-17".into(),
            last_day: None,
            file: None,
            timeout: Duration::from_secs(30),
            attempts: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            bitstamp: "https://www.bitstamp.net".into(),
            coin_metrics: "https://community-api.coinmetrics.io".into(),
            ecb: "https://data-api.ecb.europa.eu".into(),
        }
    }
}

/// Fetches real daily prices, and returns them when they are checked and written.
///
/// Dollars come from Bitstamp (daily closes, UTC) or, where that fails, from Coin Metrics (reference
/// rates). Euros come from the same source when it has all of the days, and otherwise, for all of the
/// days, from the dollars and the European Central Bank's reference rate: the two are never mixed in
/// one column. Beside the file, a sidecar in `.json` says which, with URLs, time, rows, range and
/// SHA-256. The terms of the sources stand in `data/README.md`.
///
/// `progress` is told what is done, line by line. The file is written beside its place, loaded from
/// there as [`Prices::load`] does, and only then moved: a failure leaves the old one as it was.
///
/// ```no_run
/// use seq2seq::prelude::*;
///
/// let prices: Prices = fetch_bitcoin(&BitcoinFetch::default(), |line| println!("{line}"))?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for a setting outside its range, [`Error::Fetch`] when no source gives all the
/// days, with the reason of each, [`Error::Prices`] and [`Error::Io`] as [`Prices::save`].
pub fn fetch_bitcoin(settings: &BitcoinFetch, mut progress: impl FnMut(&str)) -> Result<Prices> {
    let (range, late_days) = settings.check()?;
    let path = match &settings.file {
        Some(file) => file.clone(),
        None => file::fetched_path()?,
    };
    let mut client = Client::new(settings, &mut progress);
    let mut reasons = Vec::new();
    for (source, get) in SOURCES {
        client.urls.clear();
        let fetched = get(&mut client, settings, &range)
            .and_then(|(usd, eur)| join(&mut client, settings, &range, late_days, usd, eur))
            .and_then(|(days, method)| {
                let prices = Prices::from_days(&days, Gaps::Refuse).map_err(|e| e.to_string())?;
                Ok((prices, method))
            });
        match fetched {
            Ok((prices, method)) => {
                let mut sidecar = json!({
                    "source": source,
                    "urls": client.urls,
                    "eur": method,
                });
                if !reasons.is_empty() {
                    sidecar["failed_before"] = json!(reasons);
                }
                let prices = store(&prices, &path, sidecar)?;
                client.say(&format!("{}: {} days", path.display(), prices.frame().height()));
                return Ok(prices);
            }
            Err(reason) => {
                client.say(&format!("{source} does not do: {reason}"));
                reasons.push(format!("{source}: {reason}"));
            }
        }
    }
    Err(Error::Fetch(reasons.join("; ")))
}

type Get = fn(&mut Client, &BitcoinFetch, &Range) -> Result<(Series, Series), String>;

const SOURCES: [(&str, Get); 2] = [
    ("Bitstamp", |client, settings, range| {
        let usd = bitstamp(client, &settings.bitstamp, "btcusd", range)?;
        let eur = bitstamp(client, &settings.bitstamp, "btceur", range)?;
        Ok((usd, eur))
    }),
    ("Coin Metrics", |client, settings, range| coin_metrics(client, &settings.coin_metrics, range)),
];

impl BitcoinFetch {
    /// The days to ask for, and how many may be missing at the end.
    fn check(&self) -> Result<(Range, u64)> {
        let day = |name, text: &str| {
            parse_date(text).ok_or_else(|| Error::setting(name, text, "a date like 2014-09-17"))
        };
        let yesterday = now().date_naive() - Days::new(1);
        let first = day("first_day", &self.first_day)?;
        let last = self.last_day.as_ref().map(|text| day("last_day", text)).transpose()?;
        if let Some(last) = last.filter(|last| *last > yesterday) {
            return Err(Error::setting("last_day", last, format!("at most {yesterday}, in UTC")));
        }
        let end = last.unwrap_or(yesterday);
        if first > end {
            return Err(Error::setting("first_day", first, format!("at most {end}, the last day")));
        }
        check_sizes([("attempts", self.attempts)])?;
        if self.timeout.is_zero() {
            return Err(Error::setting("timeout", "0 s", "above 0"));
        }
        for (name, base) in
            [("bitstamp", &self.bitstamp), ("coin_metrics", &self.coin_metrics), ("ecb", &self.ecb)]
        {
            let local = base.starts_with("http://") && is_loopback(base);
            if !local && !base.starts_with("https://") {
                return Err(Error::setting(name, base, "a URL that begins with https://"));
            }
        }
        Ok((first..=end, if last.is_some() { 0 } else { LATE_DAYS }))
    }
}

/// Both prices day by day, and how the second came about.
fn join(
    client: &mut Client,
    settings: &BitcoinFetch,
    range: &Range,
    late_days: u64,
    usd: Series,
    eur: Series,
) -> Result<(Vec<Day>, &'static str), String> {
    let (Some((&first, _)), Some((&last, _))) = (usd.first_key_value(), usd.last_key_value())
    else {
        return Err("it has no price in dollars".into());
    };
    if first != *range.start() || last < *range.end() - Days::new(late_days) {
        let (from, to) = (range.start(), range.end());
        return Err(format!("it has prices from {first} to {last}, and not from {from} to {to}"));
    }
    if usd.keys().all(|date| eur.contains_key(date)) {
        let days = usd.iter().map(|(&date, &usd)| Day { date, usd, eur: eur[&date] }).collect();
        return Ok((days, NATIVE));
    }
    client.say("it lacks prices in euros: all of them are computed from the ECB's exchange rate");
    let rates = ecb(client, &settings.ecb, &(first - Days::new(FILLED_RATES)..=last))?;
    let one = |(&date, &usd): (&NaiveDate, &f64)| {
        let rate = rates.range(date - Days::new(FILLED_RATES)..=date).next_back();
        let (_, rate) = rate.ok_or_else(|| {
            format!("there is no exchange rate of {date} or the {FILLED_RATES} days before")
        })?;
        Ok(Day { date, usd, eur: cents(usd / rate) })
    };
    let days = usd.iter().map(one).collect::<Result<_, String>>()?;
    Ok((days, DERIVED))
}

/// Writes prices and sidecar beside their places, loads them from there, and moves them.
fn store(prices: &Prices, path: &Path, mut sidecar: Value) -> Result<Prices> {
    let new = prices.beside(path)?;
    let loaded = Prices::load(new.path())?;
    let days = loaded.days();
    sidecar["fetched"] = json!(now().to_rfc3339());
    sidecar["rows"] = json!(days.len());
    sidecar["first_day"] = json!(days.first().map(|day| day.date.to_string()));
    sidecar["last_day"] = json!(days.last().map(|day| day.date.to_string()));
    let content = fs::read(new.path()).map_err(|e| Error::io(new.path(), e))?;
    sidecar["sha256"] = json!(sha256(&content));
    let sidecar_path = file::sidecar(path);
    let new_sidecar = Beside::write(&sidecar_path, format!("{sidecar:#}\n").as_bytes())
        .map_err(|e| Error::io(&sidecar_path, e))?;
    new.replace().map_err(|e| Error::io(path, e))?;
    new_sidecar.replace().map_err(|e| Error::io(&sidecar_path, e))?;
    Ok(loaded)
}

/// The checksum of a file's content, in hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time, to the second.
fn now() -> DateTime<Utc> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    DateTime::from_timestamp(since.as_secs() as i64, 0).unwrap_or_default()
}

//! A server on this machine that speaks like the three sources, and misbehaves on request.

use chrono::{DateTime, Datelike, Days, NaiveDate};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server says.
#[derive(Clone)]
pub(crate) enum Reply {
    Ok(String),
    /// Status line, further headers and body.
    Status(&'static str, String, &'static str),
    /// Says nothing for longer than the client waits.
    Slow,
    /// Promises more than it sends.
    Cut(String),
}

pub(crate) struct Server {
    pub(crate) base: String,
    /// Paths and queries, in the order in which they came.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each path and query with what `answer` makes of it and of the server's own address.
    pub(crate) fn start(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self { base: base.clone(), asked: asked.clone() };
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, base, asked) = (answer.clone(), base.clone(), asked.clone());
                thread::spawn(move || serve(&stream, &base, &asked, &*answer));
            }
        });
        server
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|url| url.contains(part)).count()
    }
}

fn serve(
    mut stream: &TcpStream,
    base: &str,
    asked: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str, &str) -> Reply,
) -> Option<()> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let request = lines.next()?;
    lines.find(String::is_empty)?;
    let target = request.split(' ').nth(1)?.to_owned();
    asked.lock().unwrap().push(target.clone());
    let (status, headers, body, length) = match answer(base, &target) {
        Reply::Ok(body) => ("200 OK", String::new(), body.clone(), body.len()),
        Reply::Status(status, headers, body) => (status, headers, body.to_owned(), body.len()),
        Reply::Cut(body) => {
            let half = body[..body.len() / 2].to_owned();
            ("200 OK", String::new(), half, body.len())
        }
        Reply::Slow => {
            thread::sleep(Duration::from_secs(30));
            return None;
        }
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).ok()
}

/// What the sources know: prices and exchange rates.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) usd: BTreeMap<NaiveDate, f64>,
    pub(crate) eur: BTreeMap<NaiveDate, f64>,
    pub(crate) rates: BTreeMap<NaiveDate, f64>,
}

impl World {
    /// Prices of so many days, and exchange rates of the working days among them.
    pub(crate) fn new(first: NaiveDate, days: usize) -> Self {
        let mut world = Self::default();
        for (i, date) in first.iter_days().take(days).enumerate() {
            let cents = |value: f64| (value * 100.0).round() / 100.0;
            let usd = cents(500.0 + 100.0 * (i as f64 / 20.0).sin());
            let rate = 1.2 + 0.05 * (i as f64 / 90.0).cos();
            world.usd.insert(date, usd);
            world.eur.insert(date, cents(usd / rate));
            if date.weekday().number_from_monday() < 6 {
                world.rates.insert(date, (rate * 1e4).round() / 1e4);
            }
        }
        world
    }

    /// The answer of the source whose path it is.
    pub(crate) fn answer(&self, base: &str, target: &str) -> Reply {
        let target = target.replace('?', "&");
        let query = |name: &str| {
            let mut parts = target.split('&').filter_map(|part| part.split_once('='));
            parts
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .unwrap_or_default()
        };
        let day = |name: &str| query(name).parse::<NaiveDate>().unwrap();
        if let Some(rest) = target.strip_prefix("/api/v2/ohlc/") {
            let prices = if rest.starts_with("btcusd/") { &self.usd } else { &self.eur };
            let pair = if rest.starts_with("btcusd/") { "BTC/USD" } else { "BTC/EUR" };
            assert_eq!((query("step"), query("limit")), ("86400".into(), "1000".into()));
            let time = |name: &str| {
                DateTime::from_timestamp(query(name).parse().unwrap(), 0).unwrap().date_naive()
            };
            let (start, end) = (time("start"), time("end"));
            assert!((end - start).num_days() < 1000, "more than a page: {target}");
            let row = |date: NaiveDate, price: f64| {
                let time = date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp().to_string();
                let price = format!("{price:.2}");
                json!({"timestamp": time, "open": "1", "high": "1", "low": "1", "close": price, "volume": "1"})
            };
            let mut rows: Vec<_> =
                prices.range(start..=end).map(|(&date, &price)| row(date, price)).collect();
            // Rows outside of what was asked for, which may not be used.
            rows.insert(0, row(start - Days::new(1), 0.01));
            rows.push(row(end + Days::new(1), 0.01));
            return Reply::Ok(json!({"data": {"pair": pair, "ohlc": rows}}).to_string());
        }
        if target.starts_with("/v4/timeseries/asset-metrics") {
            let half = query("token").is_empty();
            // The rate at 00:00 UTC, which is the close of the day before.
            let (start, end) = (day("start_time") - Days::new(1), day("end_time") - Days::new(1));
            let middle = start + Days::new((end - start).num_days() as u64 / 2);
            let page = if half { start..=middle } else { middle + Days::new(1)..=end };
            let row = |(date, usd): (&NaiveDate, &f64)| {
                let time = format!("{}T00:00:00.000000000Z", *date + Days::new(1));
                let mut row = json!({"asset": "btc", "time": time});
                row["ReferenceRateUSD"] = json!(usd.to_string());
                if let Some(eur) = self.eur.get(date) {
                    row["ReferenceRateEUR"] = json!(eur.to_string());
                }
                row
            };
            let rows: Vec<_> = self.usd.range(page).map(row).collect();
            let mut answer = json!({"data": rows});
            if half {
                let (start, end) = (query("start_time"), query("end_time"));
                let query = format!("start_time={start}&end_time={end}&token=2");
                answer["next_page_url"] =
                    json!(format!("{base}/v4/timeseries/asset-metrics?{query}"));
            }
            return Reply::Ok(answer.to_string());
        }
        assert!(target.starts_with("/service/data/EXR/D.USD.EUR.SP00.A"), "{target}");
        let mut text = "KEY,FREQ,TITLE,TIME_PERIOD,OBS_VALUE,OBS_STATUS\n".to_owned();
        for (date, rate) in self.rates.range(day("startPeriod")..=day("endPeriod")) {
            text += &format!("EXR.D,D,\"US dollar/Euro, 2:15 pm\",{date},{rate},A\n");
        }
        Reply::Ok(text)
    }
}

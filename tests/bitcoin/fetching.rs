use chrono::{Days, NaiveDate};
use seq2seq::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::{TempDir, tempdir};

use crate::server::{Reply, Server, World};
use crate::sha256;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn first() -> NaiveDate {
    day("2015-01-01")
}

/// The settings of a fetch of the days of `world` from `server` into a folder of its own.
fn settings(server: &Server, folder: &Path, world: &World) -> BitcoinFetch {
    BitcoinFetch {
        first_day: first().to_string(),
        last_day: world.usd.keys().last().map(ToString::to_string),
        file: Some(folder.join("prices.csv")),
        timeout: Duration::from_secs(2),
        attempts: 2,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        bitstamp: server.base.clone(),
        coin_metrics: server.base.clone(),
        ecb: server.base.clone(),
    }
}

/// A folder with an older file and its sidecar.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("prices.csv");
    fs::write(&path, "old prices").unwrap();
    fs::write(path.with_extension("json"), "old sidecar").unwrap();
    (folder, path)
}

fn sidecar(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap()
}

fn column(prices: &Prices, name: &str) -> Vec<f64> {
    prices.frame().column(name).unwrap().f64().unwrap().into_no_null_iter().collect()
}

fn of(series: &BTreeMap<NaiveDate, f64>) -> Vec<f64> {
    series.values().copied().collect()
}

/// What each of `misbehaving` sources answers; the other one behaves.
fn misbehave(
    world: &World,
    misbehaving: &'static [&'static str],
    reply: impl Fn(Reply) -> Reply + Send + Sync + 'static,
) -> Server {
    let world = world.clone();
    Server::start(move |base, target| {
        let answer = world.answer(base, target);
        match misbehaving.iter().any(|part| target.contains(part)) {
            true => reply(answer),
            false => answer,
        }
    })
}

#[test]
fn all_pages_are_fetched_and_the_sidecar_tells_of_them() {
    let world = World::new(first(), 2300);
    let server = misbehave(&world, &[], |reply| reply);
    let (folder, path) = folder();
    let mut lines = Vec::new();
    let settings = settings(&server, folder.path(), &world);
    let prices = fetch_bitcoin(&settings, |line| lines.push(line.to_owned())).unwrap();
    assert_eq!((column(&prices, "usd"), column(&prices, "eur")), (of(&world.usd), of(&world.eur)));
    assert_eq!(prices, Prices::load(&path).unwrap());
    assert_eq!((server.count("btcusd"), server.count("btceur")), (3, 3));
    assert!(lines.iter().any(|line| line.contains("btcusd: 2300 days")), "{lines:?}");
    let told = sidecar(&path);
    assert_eq!(told["source"], "Bitstamp");
    assert_eq!((&told["first_day"], &told["rows"]), (&"2015-01-01".into(), &2300.into()));
    assert_eq!(told["last_day"], world.usd.keys().last().unwrap().to_string());
    assert_eq!(told["sha256"], sha256(&fs::read(&path).unwrap()));
    assert_eq!(told["urls"].as_array().unwrap().len(), 6);
    assert!(told["eur"].as_str().unwrap().starts_with("native"), "{told}");
    assert!(
        told["fetched"].as_str().unwrap().starts_with("20") && told.get("failed_before").is_none()
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside");
}

#[test]
fn euros_that_do_not_cover_all_days_are_computed_for_all_days() {
    let whole = World::new(first(), 60);
    let mut world = whole.clone();
    world.eur = world.eur.split_off(&day("2015-02-10"));
    let server = misbehave(&world, &[], |reply| reply);
    let (folder, path) = folder();
    let prices = fetch_bitcoin(&settings(&server, folder.path(), &world), |_| {}).unwrap();
    let eur = world.usd.iter().map(|(date, usd)| {
        let (_, rate) = world.rates.range(..=date).next_back().unwrap();
        (usd / rate * 100.0).round() / 100.0
    });
    assert_eq!(column(&prices, "eur"), eur.collect::<Vec<_>>());
    assert_eq!(column(&prices, "usd"), of(&world.usd));
    let told = sidecar(&path);
    assert_eq!(told["source"], "Bitstamp");
    assert!(told["eur"].as_str().unwrap().starts_with("derived: USD divided by the ECB"), "{told}");
}

#[test]
fn exchange_rates_are_used_for_four_days_and_no_longer() {
    let mut world = World::new(first(), 60);
    world.eur.clear();
    for (last_missing, fine) in [("2015-02-10", true), ("2015-02-11", false)] {
        let missing = day("2015-02-07")..=day(last_missing);
        let mut world = world.clone();
        world.rates.insert(day("2015-02-06"), 1.2);
        world.rates.retain(|date, _| !missing.contains(date));
        let server = misbehave(&world, &[], |reply| reply);
        let (folder, path) = folder();
        match fetch_bitcoin(&settings(&server, folder.path(), &world), |_| {}) {
            Ok(_) => assert!(fine && sidecar(&path)["rows"] == 60),
            Err(error) => {
                let message = error.to_string();
                assert!(!fine && message.contains("no exchange rate of 2015-02-11"), "{message}");
                assert_eq!(fs::read_to_string(path).unwrap(), "old prices");
            }
        }
    }
}

/// Every way to fail, with what the error has to say about it.
type Misbehaviour = (&'static str, fn(Reply) -> Reply);

fn edit(reply: Reply, from: &str, to: &str) -> Reply {
    match reply {
        Reply::Ok(body) => {
            assert!(body.contains(from), "{from} is not in {body}");
            Reply::Ok(body.replace(from, to))
        }
        other => other,
    }
}

const MISBEHAVIOURS: [Misbehaviour; 9] = [
    ("timeout", |_| Reply::Slow),
    ("429", |_| Reply::Status("429 Too Many Requests", String::new(), "")),
    ("wait of 3600 s", |_| {
        Reply::Status("429 Too Many Requests", "Retry-After: 3600\r\n".into(), "")
    }),
    ("500", |_| Reply::Status("500 Internal Server Error", String::new(), "")),
    ("404", |_| Reply::Status("404 Not Found", String::new(), "")),
    ("302", |_| Reply::Status("302 Found", "Location: http://192.0.2.1/\r\n".into(), "elsewhere")),
    (", 2 times", |reply| match reply {
        Reply::Ok(body) => Reply::Cut(body),
        other => other,
    }),
    ("not JSON", |_| Reply::Ok("<!DOCTYPE html><html>Please wait</html>".into())),
    ("and no list", |_| Reply::Ok("{}".into())),
];

#[test]
fn the_other_source_is_asked_when_the_first_fails() {
    let world = World::new(first(), 30);
    for (reason, reply) in MISBEHAVIOURS {
        let server = misbehave(&world, &["/api/v2/ohlc"], reply);
        let (folder, path) = folder();
        let prices = fetch_bitcoin(&settings(&server, folder.path(), &world), |_| {}).unwrap();
        assert_eq!(column(&prices, "eur"), of(&world.eur));
        let told = sidecar(&path);
        assert_eq!(told["source"], "Coin Metrics");
        assert_eq!(told["urls"].as_array().unwrap().len(), 2, "{told}");
        let failed = told["failed_before"].to_string().to_lowercase();
        assert!(failed.contains(&reason.to_lowercase()), "{told}");
    }
}

#[test]
fn a_failure_leaves_the_old_file_and_says_why() {
    let world = World::new(first(), 30);
    for (reason, reply) in MISBEHAVIOURS {
        let server = misbehave(&world, &["/"], reply);
        let message = fails(&server, &world);
        let (bitstamp, coin_metrics) = message.split_once("; Coin Metrics: ").unwrap();
        assert!(bitstamp.contains("Bitstamp: "), "{message}");
        for part in [bitstamp, coin_metrics] {
            assert!(part.to_lowercase().contains(&reason.to_lowercase()), "{reason}: {message}");
        }
    }
}

/// The error of a fetch; the files of before must be as they were, and nothing beside them.
fn fails(server: &Server, world: &World) -> String {
    let (folder, path) = folder();
    let error = fetch_bitcoin(&settings(server, folder.path(), world), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Fetch(_)), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old prices");
    assert_eq!(fs::read_to_string(path.with_extension("json")).unwrap(), "old sidecar");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside");
    error.to_string()
}

#[test]
fn wrong_content_is_refused_whoever_sends_it() {
    let whole = World::new(first(), 30);
    let spoilt = |spoil: fn(&mut World)| {
        let mut world = whole.clone();
        spoil(&mut world);
        world
    };
    for (reason, sent) in [
        ("from 2015-01-04 to", spoilt(|world| world.usd = world.usd.split_off(&day("2015-01-04")))),
        (
            "to 2015-01-27, and not",
            spoilt(|world| {
                world.usd.split_off(&day("2015-01-28"));
            }),
        ),
        (
            "the 2 days from 2015-01-09 to 2015-01-10 are missing",
            spoilt(|world| {
                world.usd.retain(|date, _| ![day("2015-01-09"), day("2015-01-10")].contains(date));
            }),
        ),
        ("equal on 5 days", spoilt(|world| world.eur = world.usd.clone())),
        (
            "usd / eur is",
            spoilt(|world| {
                world.eur.insert(day("2015-01-09"), 2000.0);
            }),
        ),
        (
            "2015-01-09 is ",
            spoilt(|world| {
                world.usd.insert(day("2015-01-09"), -5.0);
            }),
        ),
        (
            "2015-01-09 is ",
            spoilt(|world| {
                world.eur.insert(day("2015-01-09"), f64::NAN);
            }),
        ),
        ("no price in dollars", World::default()),
    ] {
        let server = misbehave(&sent, &[], |reply| reply);
        let message = fails(&server, &whole);
        assert_eq!(message.matches(reason).count(), 2, "{reason}: {message}");
    }
}

#[test]
fn wrong_exchange_rates_are_refused() {
    let mut world = World::new(first(), 30);
    world.eur.clear();
    for (reason, reply) in [
        (
            "begin with \"<!DOCTYPE html>",
            (|_| Reply::Ok("<!DOCTYPE html>\n<html>\n".into())) as fn(Reply) -> Reply,
        ),
        ("TIME_PERIOD is \"2015/01/09\"", |reply| edit(reply, "2015-01-09", "2015/01/09")),
        ("OBS_VALUE of 2015-01-09 is \"x1", |reply| edit(reply, "2015-01-09,", "2015-01-09,x")),
        ("OBS_VALUE of 2015-01-09 is \"-1", |reply| edit(reply, "2015-01-09,", "2015-01-09,-")),
        ("usd / eur is", |reply| edit(reply, "2015-01-09,1", "2015-01-09,9")),
        ("503", |_| Reply::Status("503 Service Unavailable", String::new(), "")),
    ] {
        let server = misbehave(&world, &["/service/data"], reply);
        let message = fails(&server, &world);
        assert_eq!(message.matches(reason).count(), 2, "{reason}: {message}");
    }
}

#[test]
fn passing_failures_are_tried_again_and_others_are_not() {
    let world = World::new(first(), 30);
    for (status, headers, tries) in [
        ("408 Request Timeout", "", 3),
        ("429 Too Many Requests", "Retry-After: 0\r\n", 3),
        ("429 Too Many Requests", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 3),
        ("503 Service Unavailable", "Retry-After: soon\r\n", 3),
        ("403 Forbidden", "", 1),
    ] {
        let failures = Mutex::new(2);
        let server = misbehave(&world, &["btcusd"], move |reply| {
            let mut left = failures.lock().unwrap();
            if *left == 0 {
                return reply;
            }
            *left -= 1;
            Reply::Status(status, headers.into(), "")
        });
        let (folder, path) = folder();
        let settings = BitcoinFetch { attempts: 3, ..settings(&server, folder.path(), &world) };
        let mut lines = Vec::new();
        fetch_bitcoin(&settings, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(server.count("btcusd"), tries, "{status}");
        let source = if tries == 1 { "Coin Metrics" } else { "Bitstamp" };
        assert_eq!(sidecar(&path)["source"], source);
        let again = lines.iter().filter(|line| line.contains(status) && line.contains("attempt "));
        assert_eq!(again.count(), tries - 1, "{lines:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let world = World::new(first(), 5);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(|_, _| Reply::Ok("{}".into()));
    let (folder, path) = folder();
    let base = format!("http://{gone}");
    let settings = BitcoinFetch {
        bitstamp: base.clone(),
        coin_metrics: base,
        ..settings(&server, folder.path(), &world)
    };
    let message = fetch_bitcoin(&settings, |_| {}).unwrap_err().to_string();
    assert!(message.contains("2 times"), "{message}");
    assert_eq!(fs::read_to_string(path).unwrap(), "old prices");
}

#[test]
fn pages_elsewhere_are_not_followed() {
    let world = World::new(first(), 30);
    let server = misbehave(&world, &["/"], |reply| match reply {
        Reply::Ok(body) if body.contains("next_page_url") => {
            let mut answer: serde_json::Value = serde_json::from_str(&body).unwrap();
            answer["next_page_url"] = "http://192.0.2.1/v4/more".into();
            Reply::Ok(answer.to_string())
        }
        _ => Reply::Status("404 Not Found", String::new(), ""),
    });
    let message = fails(&server, &world);
    assert!(message.contains("next_page_url is \"http://192.0.2.1/v4/more\""), "{message}");
}

#[test]
fn the_last_days_may_be_late_only_where_they_were_not_asked_for() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let today = chrono::DateTime::from_timestamp(now, 0).unwrap().date_naive();
    let start = today - Days::new(30);
    let fetched = |days: usize| {
        // The source has a price of today too, of a day that is not over.
        let world = World::new(start, days);
        let server = misbehave(&world, &[], |reply| reply);
        let folder = tempdir().unwrap();
        let settings = BitcoinFetch {
            first_day: start.to_string(),
            last_day: None,
            ..settings(&server, folder.path(), &world)
        };
        fetch_bitcoin(&settings, |_| {}).map(|prices| prices.frame().height())
    };
    assert_eq!(fetched(31).unwrap(), 30);
    assert_eq!(fetched(28).unwrap(), 28);
    assert!(fetched(25).is_err());
}

#[test]
fn settings_outside_their_range_are_refused_before_anything_is_asked() {
    let world = World::new(first(), 5);
    let server = misbehave(&world, &[], |reply| reply);
    let (folder, _path) = folder();
    let good = settings(&server, folder.path(), &world);
    let elsewhere = || "http://example.org".to_owned();
    for (settings, part) in [
        (BitcoinFetch { first_day: "1.1.2015".into(), ..good.clone() }, "first_day is 1.1.2015"),
        (BitcoinFetch { last_day: Some("2999-01-01".into()), ..good.clone() }, "last_day is 2999"),
        (
            BitcoinFetch { first_day: "2015-02-01".into(), ..good.clone() },
            "first_day is 2015-02-01",
        ),
        (BitcoinFetch { attempts: 0, ..good.clone() }, "attempts is 0"),
        (BitcoinFetch { timeout: Duration::ZERO, ..good.clone() }, "timeout is 0 s"),
        (BitcoinFetch { bitstamp: elsewhere(), ..good.clone() }, "bitstamp is http://example.org"),
        (BitcoinFetch { coin_metrics: elsewhere(), ..good.clone() }, "coin_metrics is http:"),
        (BitcoinFetch { ecb: "ftp://127.0.0.1".into(), ..good.clone() }, "ecb is ftp:"),
        (BitcoinFetch { ecb: "http://127.0.0.1.example.org".into(), ..good.clone() }, "https://"),
    ] {
        let message = fetch_bitcoin(&settings, |_| {}).unwrap_err().to_string();
        assert!(message.contains(part), "{part}: {message}");
    }
    let wrong = BitcoinFetch { file: Some(folder.path().join("prices.txt")), ..good };
    let message = fetch_bitcoin(&wrong, |_| {}).unwrap_err().to_string();
    assert!(message.contains(".csv or .parquet"), "{message}");
}

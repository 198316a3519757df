use chrono::{DateTime, Days, NaiveDate};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::http::Client;
use super::parse_date;

/// One value a day.
pub(super) type Series = BTreeMap<NaiveDate, f64>;
/// The first and the last day that are asked for.
pub(super) type Range = RangeInclusive<NaiveDate>;

/// Days that Bitstamp gives at once.
const BITSTAMP_ROWS: u64 = 1000;
/// Requests before giving up on a list of pages that does not end.
const MOST_PAGES: usize = 100;

/// Daily closes of one pair, such as `btcusd`, from Bitstamp: page by page, from the last one back to
/// the first, or to the first page without any.
pub(super) fn bitstamp(
    client: &mut Client,
    base: &str,
    pair: &str,
    range: &Range,
) -> Result<Series, String> {
    let mut closes = Series::new();
    let mut end = *range.end();
    loop {
        let page = (end - Days::new(BITSTAMP_ROWS - 1)).max(*range.start())..=end;
        let url = format!(
            "{base}/api/v2/ohlc/{pair}/?step=86400&limit={BITSTAMP_ROWS}&start={}&end={}",
            seconds(*page.start()),
            seconds(*page.end())
        );
        let answer = json(&client.get(&url)?)?;
        let rows = list(&answer["data"]["ohlc"], "data.ohlc")?;
        let before = closes.len();
        for row in rows {
            let date = unix_date(&row["timestamp"])?;
            // Rows outside of the page can appear.
            if page.contains(&date) {
                closes.insert(date, number(&row["close"], "close", date)?);
            }
        }
        client.say(&format!("{pair}: {} days, back to {}", closes.len(), page.start()));
        if closes.len() == before || page.start() == range.start() {
            return Ok(closes);
        }
        end = *page.start() - Days::new(1);
    }
}

/// Coin Metrics' reference rates of one bitcoin in dollars and in euros; days without a rate are left
/// out.
///
/// A reference rate is that of its time, 00:00 UTC, while the time of a daily price such as PriceUSD
/// is where its day begins (Coin Metrics, *Price*, on timestamp conventions). So the close of a day is
/// the rate of the next.
pub(super) fn coin_metrics(
    client: &mut Client,
    base: &str,
    range: &Range,
) -> Result<(Series, Series), String> {
    let (mut usd, mut eur) = (Series::new(), Series::new());
    let mut url = format!(
        "{base}/v4/timeseries/asset-metrics?assets=btc&metrics=ReferenceRateUSD,ReferenceRateEUR\
         &frequency=1d&page_size=10000&start_time={}&end_time={}",
        *range.start() + Days::new(1),
        *range.end() + Days::new(1)
    );
    for _ in 0..MOST_PAGES {
        let answer = json(&client.get(&url)?)?;
        for row in list(&answer["data"], "data")? {
            let time = row["time"].as_str().unwrap_or_default();
            let date = time.get(..10).and_then(parse_date).and_then(|date| date.pred_opt());
            let date =
                date.ok_or_else(|| format!("time is {}, and no date", short(&row["time"])))?;
            if !range.contains(&date) {
                continue;
            }
            for (name, series) in [("ReferenceRateUSD", &mut usd), ("ReferenceRateEUR", &mut eur)] {
                if !row[name].is_null() {
                    series.insert(date, number(&row[name], name, date)?);
                }
            }
        }
        client.say(&format!("reference rates: {} days", usd.len()));
        match &answer["next_page_url"] {
            Value::Null => return Ok((usd, eur)),
            // Nowhere but to the place that was asked.
            Value::String(next) if next.starts_with(&format!("{base}/")) => url.clone_from(next),
            other => {
                return Err(format!("next_page_url is {}, elsewhere than {base}", short(other)));
            }
        }
    }
    Err(format!("{base}: there are more than {MOST_PAGES} pages"))
}

/// Dollars for one euro, the reference rate of the European Central Bank; none at week-ends and on
/// some holidays.
pub(super) fn ecb(client: &mut Client, base: &str, range: &Range) -> Result<Series, String> {
    let url = format!(
        "{base}/service/data/EXR/D.USD.EUR.SP00.A?format=csvdata&startPeriod={}&endPeriod={}",
        range.start(),
        range.end()
    );
    let text = client.get(&url)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let unreadable = |error| format!("the exchange rates are no table: {error}");
    let header = reader.headers().map_err(unreadable)?.clone();
    let column = |name| {
        header.iter().position(|found| found == name).ok_or_else(|| {
            let start: String = text.chars().take(60).collect();
            format!("the exchange rates have no column {name}; they begin with {start:?}")
        })
    };
    let (date, rate) = (column("TIME_PERIOD")?, column("OBS_VALUE")?);
    let mut rates = Series::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let (date, rate) = (&record[date], &record[rate]);
        let date =
            parse_date(date).ok_or_else(|| format!("TIME_PERIOD is {date:?}, and no date"))?;
        // A day without an observation.
        if !matches!(rate, "" | "NaN") {
            rates.insert(date, number(&Value::from(rate), "OBS_VALUE", date)?);
        }
    }
    client.say(&format!("exchange rates: {} days", rates.len()));
    Ok(rates)
}

fn seconds(date: NaiveDate) -> i64 {
    (date - super::EPOCH).num_seconds()
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        let start: String = text.chars().take(60).collect();
        format!("the answer is not JSON ({error}); it begins with {start:?}")
    })
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{name} is {}, and no list", short(value)))
}

/// A price or rate, which the sources write as a string.
fn number(value: &Value, name: &str, date: NaiveDate) -> Result<f64, String> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite() && *number > 0.0).ok_or_else(|| {
        format!("{name} of {date} is {}, but it must be a number above 0", short(value))
    })
}

fn unix_date(value: &Value) -> Result<NaiveDate, String> {
    let seconds = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map(|time| time.date_naive())
        .ok_or_else(|| format!("timestamp is {}, and no time", short(value)))
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

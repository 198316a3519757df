use polars::prelude::*;
use std::fs::{self, File};
use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::prices::{Origin, Prices, rows};
use super::{Day, parse_date};
use crate::error::{Error, Result};

const FETCHED: &str = "btc_usd_eur.csv";
const SIMULATED: &str = "simulated_btc_usd_eur.csv";

/// The folder `data/` of this project: above the current folder, where a notebook runs, or else
/// where the crate was built.
///
/// # Errors
/// [`Error::Data`] when there is none that holds the simulated prices.
pub fn data_folder() -> Result<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    here.ancestors()
        .chain([Path::new(env!("CARGO_MANIFEST_DIR"))])
        .map(|folder| folder.join("data"))
        .find(|folder| folder.join(SIMULATED).is_file())
        .ok_or_else(|| {
            let here = here.display();
            Error::Data(format!("there is no data/{SIMULATED} in {here} or a folder above it"))
        })
}

/// The prices that a notebook works on: the real ones in `data/btc_usd_eur.csv` where they have been
/// fetched, and otherwise the simulated ones that ship. Printed, they say which.
///
/// ```
/// use seq2seq::prelude::*;
///
/// let prices: Prices = bitcoin_prices()?;
/// println!("{prices}");
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`data_folder`] and [`Prices::load`].
pub fn bitcoin_prices() -> Result<Prices> {
    prices_in(&data_folder()?)
}

/// [`bitcoin_prices`] from a given folder.
fn prices_in(folder: &Path) -> Result<Prices> {
    let simulated = !folder.join(FETCHED).exists();
    let path = folder.join(if simulated { SIMULATED } else { FETCHED });
    let mut prices = Prices::load(&path)?;
    let text = if simulated {
        format!(
            "SIMULATED prices, not real ones (data/{SIMULATED}); `cargo workbook fetch-btc` brings \
             the real ones"
        )
    } else {
        let (story, warning) = story(&path);
        prices.warnings.extend(warning);
        format!("real prices{story} (data/{FETCHED})")
    };
    prices.origin = Some(Origin { text, simulated });
    Ok(prices)
}

/// Where fetched prices go.
pub(super) fn fetched_path() -> Result<PathBuf> {
    Ok(data_folder()?.join(FETCHED))
}

/// Where the story of a file of prices is told.
pub(super) fn sidecar(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// What the sidecar tells of a file, and a warning when there is none for it.
fn story(path: &Path) -> (String, Option<String>) {
    let told: Option<serde_json::Value> =
        fs::read(sidecar(path)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let Some(told) = told else {
        return (String::new(), Some("no sidecar tells where these prices come from".into()));
    };
    let text = |name: &str| told[name].as_str().unwrap_or("unknown").to_owned();
    let content = fs::read(path).unwrap_or_default();
    let warning = (text("sha256") != super::fetch::sha256(&content))
        .then(|| "the file has changed since it was fetched: its SHA-256 is another".into());
    let [source, fetched, eur] = ["source", "fetched", "eur"].map(text);
    (format!(" from {source}, fetched {fetched}, euros {eur}"), warning)
}

/// What the reader of some prices calls a row.
pub(super) type Place = fn(usize) -> String;

/// Of a text, whose lines count from 1 and with the header.
fn line(row: usize) -> String {
    format!("line {}", row + 2)
}

/// Of a frame, from 1.
pub(super) fn row(row: usize) -> String {
    format!("row {}", row + 1)
}

/// What polars says, as a reason.
pub(super) fn polars(error: PolarsError) -> String {
    format!("polars: {error}")
}

enum Format {
    Csv,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Result<Self, String> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err("the name of the file must end in .csv or .parquet".to_owned()),
        }
    }
}

/// The rows of a file, not yet checked, and what its reader calls them.
pub(super) fn read(path: &Path) -> Result<(Vec<Day>, Place)> {
    let (refused, io) = (|reason| Error::prices(path, reason), |error| Error::io(path, error));
    match Format::of(path).map_err(refused)? {
        Format::Csv => {
            let content = fs::read(path).map_err(io)?;
            Ok((read_csv(&content).map_err(refused)?, line))
        }
        Format::Parquet => {
            let frame = ParquetReader::new(File::open(path).map_err(io)?).finish();
            let rows = frame.map_err(polars).and_then(|frame| rows(&frame));
            Ok((rows.map_err(refused)?, row))
        }
    }
}

/// Reads all columns as text, so that a value which is no date or number can be quoted.
fn read_csv(content: &[u8]) -> Result<Vec<Day>, String> {
    check_lines(content)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name| {
        let at = header.iter().position(|found| found == name);
        at.ok_or_else(|| no_column(name, header.iter()))
    };
    let (date, usd, eur) = (column("date")?, column("usd")?, column("eur")?);
    let day = |(row, record): (usize, csv::Result<csv::StringRecord>)| {
        let (line, record) = (line(row), record.map_err(|error| error.to_string())?);
        if record.len() != header.len() {
            let (found, wanted) = (record.len(), header.len());
            let text: String = Vec::from_iter(&record).join(",").chars().take(80).collect();
            return Err(format!(
                "{line} has {found} fields and not {wanted} as the header: {text:?}"
            ));
        }
        let wrong = |name, text: &str, allowed| {
            format!("{line}: {name} is {text:?}, but it must be {allowed}")
        };
        let number = |name, text: &str| text.parse().map_err(|_| wrong(name, text, "a number"));
        let date = &record[date];
        Ok(Day {
            date: parse_date(date).ok_or_else(|| wrong("date", date, "a date like 2014-09-17"))?,
            usd: number("usd", &record[usd])?,
            eur: number("eur", &record[eur])?,
        })
    };
    reader.records().enumerate().map(day).collect()
}

/// Refuses blank lines, which the reader would pass over, and what is no text.
fn check_lines(content: &[u8]) -> Result<(), String> {
    for (line, number) in content.lines().zip(1..) {
        match line {
            Ok(line) if line.is_empty() => return Err(format!("line {number} is blank")),
            Ok(_) => {}
            Err(_) => return Err(format!("line {number}: it is not text in UTF-8")),
        }
    }
    Ok(())
}

/// The column of that name.
pub(super) fn column<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a Column, String> {
    let names = || frame.get_column_names().into_iter().map(|found| found.as_str());
    frame.column(name).map_err(|_| no_column(name, names()))
}

fn no_column<'a>(name: &str, found: impl Iterator<Item = &'a str>) -> String {
    let text: String = Vec::from_iter(found).join(", ").chars().take(80).collect();
    format!("there is no column {name}; the columns are {text:?}")
}

/// What a file of that name holds for a data frame.
pub(super) fn content(frame: &DataFrame, path: &Path) -> Result<Vec<u8>, String> {
    let (mut content, mut frame) = (Vec::new(), frame.clone());
    match Format::of(path)? {
        Format::Csv => CsvWriter::new(&mut content).finish(&mut frame),
        Format::Parquet => ParquetWriter::new(&mut content).finish(&mut frame).map(|_| ()),
    }
    .map_err(polars)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetched_prices_are_preferred_and_tell_their_story() {
        let folder = tempfile::tempdir().unwrap();
        let simulated = folder.path().join(SIMULATED);
        fs::write(&simulated, "date,usd,eur\n2015-01-01,300,250\n").unwrap();
        let prices = prices_in(folder.path()).unwrap();
        assert!(prices.is_simulated() && prices.to_string().starts_with("SIMULATED"), "{prices}");

        let fetched = folder.path().join(FETCHED);
        let content = "date,usd,eur\n2015-01-01,310,255\n";
        fs::write(&fetched, content).unwrap();
        let prices = prices_in(folder.path()).unwrap();
        let text = prices.to_string();
        assert!(!prices.is_simulated() && text.starts_with("real prices (data/btc"), "{text}");
        assert!(text.contains("310 USD") && text.contains("warning: no sidecar"), "{text}");

        let sha256 = super::super::fetch::sha256(content.as_bytes());
        let told = format!(
            r#"{{"source": "Bitstamp", "fetched": "then", "eur": "native", "sha256": "{sha256}"}}"#
        );
        fs::write(sidecar(&fetched), told).unwrap();
        let text = prices_in(folder.path()).unwrap().to_string();
        let story = "real prices from Bitstamp, fetched then, euros native (data/btc_usd_eur.csv)";
        assert!(text.starts_with(story) && !text.contains("warning"), "{text}");

        fs::write(&fetched, content.replace("310", "311")).unwrap();
        let text = prices_in(folder.path()).unwrap().to_string();
        assert!(text.contains("warning: the file has changed since it was fetched"), "{text}");

        // A damaged file is not passed over for the simulated one.
        fs::write(&fetched, "date,usd,eur\n").unwrap();
        assert!(prices_in(folder.path()).is_err());
    }
}

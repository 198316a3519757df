use seq2seq::data::Gaps;
use seq2seq::polars::prelude::*;
use seq2seq::prelude::*;
use std::fs;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

/// A file of that name, in a folder that lasts as long as the first value.
fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

/// Why a CSV file is refused; the message has to name the file.
fn refused(rows: &str) -> String {
    let (_folder, path) = file("p.csv", format!("date,usd,eur\n{rows}"));
    let message = Prices::load(&path).unwrap_err().to_string();
    assert!(message.contains("p.csv"), "{message}");
    message
}

fn numbers(prices: &Prices, name: &str) -> Vec<f64> {
    prices.frame().column(name).unwrap().f64().unwrap().into_no_null_iter().collect()
}

const GOOD: &str = "date,usd,eur\n2014-12-31,320.43,264.00\n2015-01-01,314.25,258.9\n";

#[test]
fn a_good_file_is_loaded_as_it_is() {
    let (_folder, path) = file("good.csv", GOOD);
    let prices = Prices::load(path).unwrap();
    assert_eq!(numbers(&prices, "usd"), [320.43, 314.25]);
    assert_eq!(numbers(&prices, "eur"), [264.0, 258.9]);
    let dates = prices.frame().column("date").unwrap();
    assert_eq!(dates.dtype(), &DataType::Date);
    assert_eq!(dates.get(1).unwrap().to_string(), "2015-01-01");
    assert!(prices.warnings().is_empty() && !prices.is_simulated());
    let text = prices.to_string();
    assert!(text.contains("2 days, 2014-12-31 to 2015-01-01, 314.25 to 320.43 USD"), "{text}");
}

#[test]
fn other_orders_of_columns_line_ends_and_columns_make_no_difference() {
    let (_folder, path) = file("good.csv", GOOD);
    let expected = Prices::load(path).unwrap();
    for text in [
        GOOD.replace('\n', "\r\n"),
        format!("\u{feff}{GOOD}"), // as Excel writes it
        GOOD.trim_end().to_owned(),
        "eur,note,date,usd\n264,a,2014-12-31,320.43\n258.90,b,2015-01-01,314.25\n".to_owned(),
        "date,usd,eur,\"a, b\"\n\"2014-12-31\",320.43,264,\n2015-01-01,314.25,258.9,\"c, d\"\n"
            .to_owned(),
    ] {
        let (_folder, path) = file("other.csv", &text);
        assert_eq!(Prices::load(path).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn both_formats_keep_every_bit() {
    let prices = simulated_bitcoin(SimulatedBitcoin { days: 400, seed: 1 }).unwrap();
    let folder = tempdir().unwrap();
    for name in ["prices.csv", "prices.parquet"] {
        let path = folder.path().join(name);
        prices.save(&path).unwrap();
        assert_eq!(Prices::load(&path).unwrap().frame(), prices.frame());
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "only the files themselves");
    let message = prices.save(folder.path().join("prices.txt")).unwrap_err().to_string();
    assert!(message.contains(".csv or .parquet"), "{message}");
    let message = Prices::load(folder.path().join("prices.txt")).unwrap_err().to_string();
    assert!(message.contains(".csv or .parquet"), "{message}");
    assert!(prices.save(folder.path().join("none/prices.csv")).is_err());
}

#[test]
fn bad_rows_are_refused_with_line_and_value() {
    for (rows, parts) in [
        ("", &["no day"][..]),
        ("\n", &["line 2 is blank"]),
        ("2015-01-01,300,250\n\n2015-01-02,300,250\n", &["line 3 is blank"]),
        ("2015-01-01,300,250\n2015-01-02,300\n", &["line 3 has 2 fields", "\"2015-01-02,300\""]),
        ("2015-01-01,300,250,1\n", &["line 2 has 4 fields"]),
        ("2015-1-1,300,250\n", &["line 2: date is \"2015-1-1\"", "2014-09-17"]),
        ("2015-02-29,300,250\n", &["line 2: date is \"2015-02-29\""]),
        (",300,250\n", &["line 2: date is \"\""]),
        ("2015-01-01,300,250\n2015-01-02,n/a,250\n", &["line 3: usd is \"n/a\"", "a number"]),
        ("2015-01-01,300,\n", &["line 2: eur is \"\""]),
        ("2015-01-01,NaN,250\n", &["line 2, 2015-01-01: usd is NaN", "finite"]),
        ("2015-01-01,inf,250\n", &["usd is inf"]),
        ("2015-01-01,300,0\n", &["eur is 0", "above 0"]),
        ("2015-01-01,-300,250\n", &["usd is -300"]),
        ("2015-01-01,300,100\n", &["usd / eur is 300 / 100 = 3.0000", "0.9 to 1.6"]),
        ("2015-01-01,100,300\n", &["0.3333"]),
        ("2015-01-01,300,250\n2015-01-01,300,250\n", &["line 3", "2015-01-01 is there twice"]),
        (
            "2015-01-02,300,250\n2015-01-01,300,250\n",
            &["line 3", "2015-01-01 comes after 2015-01-02"],
        ),
        ("2015-01-01,300,250\n2015-01-03,300,250\n", &["line 3", "the day 2015-01-02 is missing"]),
        (
            "2014-12-30,300,250\n2015-01-03,300,250\n",
            &["line 3", "the 3 days from 2014-12-31 to 2015-01-02 are missing"],
        ),
        (
            "1015-01-01,300,250\n2015-01-01,300,250\n",
            &["line 3", "from 1015-01-02 to 2014-12-31 are missing"],
        ),
        ("2015-01-01,300,300\n", &["line 2", "both 300"]),
    ] {
        let message = refused(rows);
        assert!(parts.iter().all(|part| message.contains(part)), "{rows:?}: {message}");
    }
}

#[test]
fn equal_series_are_refused_and_a_few_equal_days_are_not() {
    let rows = |equal: u32| {
        let row =
            |day: u32| format!("2022-07-{day:02},20000,{}\n", 20_000 + u32::from(day > equal));
        (1..=9).map(row).collect::<String>()
    };
    let message = refused(&rows(5));
    assert!(
        message.contains("line 6, 2022-07-05") && message.contains("5 days in a row"),
        "{message}"
    );
    let (_folder, path) = file("p.csv", format!("date,usd,eur\n{}", rows(4)));
    assert!(Prices::load(path).is_ok());
}

#[test]
fn files_that_are_no_tables_of_prices_are_refused() {
    for (text, part) in [
        (&b""[..], "p.csv"),
        (b"date,usd\n2015-01-01,300\n", "no column eur; the columns are \"date, usd\""),
        (b"<!DOCTYPE html>\n<html>\n</html>\n", "no column date"),
        (b"date,usd,eur\n2015-01-01,\xff,250\n", "line 2: it is not text"),
    ] {
        let (_folder, path) = file("p.csv", text);
        let message = Prices::load(path).unwrap_err().to_string();
        assert!(message.contains("p.csv") && message.contains(part), "{message}");
    }
    let (_folder, path) = file("p.parquet", "no Parquet");
    let message = Prices::load(&path).unwrap_err().to_string();
    assert!(message.contains("p.parquet"), "{message}");
    let missing = path.with_file_name("none.csv");
    assert!(matches!(Prices::load(missing).unwrap_err(), Error::Io { .. }));
}

#[test]
fn frames_and_parquet_files_are_checked_too() {
    let frame = |dates: Column, usd: Column| {
        let eur = Column::new("eur".into(), [250.0, 250.0]);
        DataFrame::new(2, vec![dates, usd, eur]).unwrap()
    };
    let dates =
        |days: [Option<i32>; 2]| Column::new("date".into(), days).cast(&DataType::Date).unwrap();
    let usd = |values: [Option<f64>; 2]| Column::new("usd".into(), values);
    let (days, values) = ([Some(16_436), Some(16_437)], [Some(300.0), Some(301.0)]);
    let good = frame(dates(days), usd(values));
    assert_eq!(Prices::from_frame(&good, Gaps::Refuse).unwrap().frame(), &good);
    for (frame, part) in [
        (frame(dates([None, Some(1)]), usd(values)), "row 1: there is no date"),
        (frame(dates(days), usd([Some(300.0), None])), "row 2: there is no usd"),
        (frame(dates(days), usd([Some(300.0), Some(-1.0)])), "row 2, 2015-01-02: usd is -1"),
        (frame(dates(days), Column::new("usd".into(), [300i64, 301])), "usd is Int64"),
        (frame(Column::new("date".into(), ["a", "b"]), usd(values)), "date is String"),
    ] {
        let message = Prices::from_frame(&frame, Gaps::Refuse).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        let folder = tempdir().unwrap();
        let path = folder.path().join("p.parquet");
        ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut frame.clone()).unwrap();
        let message = Prices::load(path).unwrap_err().to_string();
        assert!(message.contains("p.parquet") && message.contains(part), "{message}");
    }
}

#[test]
fn gaps_are_filled_on_request_up_to_the_limit_and_not_in_silence() {
    let text = "date,usd,eur\n2015-01-01,300,250\n2015-01-03,320,260\n2015-01-06,330,270\n";
    let (_folder, path) = file("p.csv", text);
    let filled = Prices::load_with(&path, Gaps::FillForward { days: 2 }).unwrap();
    assert_eq!(numbers(&filled, "usd"), [300., 300., 320., 320., 320., 330.]);
    assert_eq!(numbers(&filled, "eur"), [250., 250., 260., 260., 260., 270.]);
    let warnings = filled.warnings().join("\n");
    assert!(warnings.contains("2015-01-02 to 2015-01-02: 1 missing days"), "{warnings}");
    assert!(warnings.contains("2015-01-04 to 2015-01-05: 2 missing days"), "{warnings}");
    assert!(filled.to_string().contains("warning: 2015-01-04"), "{filled}");
    let message = Prices::load_with(&path, Gaps::FillForward { days: 1 }).unwrap_err().to_string();
    assert!(message.contains("line 4: the 2 days from 2015-01-04 to 2015-01-05"), "{message}");
}

#[test]
fn a_move_above_half_is_a_warning() {
    let text = "date,usd,eur\n2015-01-01,300,250\n2015-01-02,450,375\n2015-01-03,200,180\n";
    let (_folder, path) = file("p.csv", text);
    let prices = Prices::load(path).unwrap();
    let warnings = prices.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}"); // exactly half is none
    assert_eq!(warnings[0], "line 4, 2015-01-03: usd moved by -56 % in a day, from 450 to 200");
    assert!(prices.to_string().contains("warning: line 4"), "{prices}");
}

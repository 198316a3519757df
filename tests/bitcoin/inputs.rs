use chrono::{DateTime, NaiveDate};
use proptest::prelude::*;
use seq2seq::data::{Gaps, calendar, days_since_halving, moon_phase};
use seq2seq::polars::prelude::*;
use seq2seq::prelude::*;

fn prices() -> Prices {
    simulated_bitcoin(SimulatedBitcoin { days: 200, seed: 5 }).unwrap()
}

fn dates(days: &[&str]) -> Column {
    let epoch = NaiveDate::default();
    let day = |text: &&str| (text.parse::<NaiveDate>().unwrap() - epoch).num_days() as i32;
    let days: Vec<i32> = days.iter().map(day).collect();
    Column::new("date".into(), days).cast(&DataType::Date).unwrap()
}

fn values(column: &Column) -> Vec<Option<f64>> {
    column.f64().unwrap().iter().collect()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-12
}

/// The turns of an angle that is given as sine and cosine, 0 to 1.
fn turns(columns: &[Column]) -> Vec<f64> {
    let pairs = values(&columns[0]).into_iter().zip(values(&columns[1]));
    let turn = |(sin, cos): (Option<f64>, Option<f64>)| {
        (sin.unwrap().atan2(cos.unwrap()) / std::f64::consts::TAU).rem_euclid(1.0)
    };
    pairs.map(turn).collect()
}

#[test]
fn returns_and_volatility_follow_their_formulas() {
    let usd = Column::new("usd".into(), [100.0, 110.0, 99.0, 99.0]);
    let returns = log_returns(&usd).unwrap();
    assert_eq!(returns.name(), "usd_log_return");
    let found = values(&returns);
    let (up, down) = (1.1_f64.ln(), 0.9_f64.ln());
    assert_eq!(found[0], None);
    assert!(close(found[1].unwrap(), up) && close(found[2].unwrap(), down));
    assert_eq!(found[3], Some(0.0));
    let volatility = trailing_volatility(&usd, 2).unwrap();
    assert_eq!(volatility.name(), "usd_volatility_2");
    let found = values(&volatility);
    assert_eq!(found[..2], [None, None]);
    // Of two values, the deviation is their distance over the root of two.
    assert!(close(found[2].unwrap(), (up - down) / 2_f64.sqrt()));
    assert!(close(found[3].unwrap(), -down / 2_f64.sqrt()));
    for short in [&[100.0][..], &[]] {
        let column = Column::new("usd".into(), short);
        assert_eq!(values(&log_returns(&column).unwrap()), vec![None; short.len()]);
        assert_eq!(values(&trailing_volatility(&column, 9).unwrap()), vec![None; short.len()]);
    }
}

#[test]
fn the_calendar_goes_round() {
    // A Monday, a Tuesday, the last day of a leap February, the last day of that year.
    let columns =
        calendar(&dates(&["2024-01-01", "2024-01-02", "2024-02-29", "2024-12-31", "2023-12-31"]));
    let columns = columns.unwrap();
    let names: Vec<_> = columns.iter().map(|column| column.name().to_string()).collect();
    let expected = ["day_of_week", "day_of_month", "day_of_year"];
    let expected = expected.map(|name| [format!("{name}_sin"), format!("{name}_cos")]).concat();
    assert_eq!(names, expected);
    for (columns, expected) in [
        (&columns[..2], [0.0, 1. / 7., 3. / 7., 1. / 7., 6. / 7.]),
        (&columns[2..4], [0.0, 1. / 31., 28. / 29., 30. / 31., 30. / 31.]),
        (&columns[4..], [0.0, 1. / 366., 59. / 366., 365. / 366., 364. / 365.]),
    ] {
        for (found, expected) in turns(columns).iter().zip(expected) {
            assert!(close(*found, expected), "{found} {expected}");
        }
    }
}

/// Moons that eclipses fix, from the eclipse catalogues of F. Espenak, NASA.
#[test]
fn the_moon_is_where_eclipses_were() {
    for (time, new) in [
        ("2014-10-08T10:51:00Z", false),
        ("2015-09-28T02:51:00Z", false),
        ("2016-03-09T01:54:00Z", true),
        ("2017-08-21T18:30:00Z", true),
        ("2018-01-31T13:27:00Z", false),
        ("2019-07-02T19:16:00Z", true),
        ("2021-05-26T11:14:00Z", false),
        ("2024-04-08T18:21:00Z", true),
    ] {
        let time: DateTime<chrono::Utc> = time.parse().unwrap();
        let day = time.date_naive();
        let noon = day.and_hms_opt(12, 0, 0).unwrap().and_utc();
        let columns = moon_phase(&dates(&[&day.to_string()])).unwrap();
        let expected = if new { 0.0 } else { 0.5 };
        let off = (turns(&columns)[0] - expected + 0.5).rem_euclid(1.0) - 0.5;
        // In days, at the time of the eclipse; mean and true moon are up to 14 hours apart.
        let hours = off * 29.530588861 * 24.0 + (time - noon).num_minutes() as f64 / 60.0;
        assert!(hours.abs() < 14.5, "{day}: {hours} hours");
    }
}

#[test]
fn a_halving_is_known_on_its_day_and_not_before() {
    let days = ["2012-11-27", "2012-11-28", "2016-07-08", "2016-07-09", "2020-05-12", "2024-04-20"];
    let found = values(&days_since_halving(&dates(&days)).unwrap());
    assert_eq!(found, [None, Some(0.0), Some(1318.0), Some(0.0), Some(1.0), Some(0.0)]);
}

/// The numbers of `pandas.Series([4.0, 1.0, 2.0, 10.0]).describe()`.
#[test]
fn a_frame_is_described_in_eight_numbers_a_column() {
    let numbers = Column::new("numbers".into(), [4.0, 1.0, 2.0, 10.0]);
    let words = Column::new("words".into(), ["a", "b", "c", "d"]);
    let frame = DataFrame::new(4, vec![words, numbers]).unwrap();
    let table = describe(&frame).unwrap();
    assert_eq!(table.get_column_names(), ["statistic", "numbers"]);
    let expected = [4.0, 4.25, 4.031128874149275, 1.0, 1.75, 3.0, 5.5, 10.0];
    for (found, expected) in values(table.column("numbers").unwrap()).into_iter().zip(expected) {
        assert!(close(found.unwrap(), expected), "{found:?} and {expected}");
    }
    let none = describe(&frame.head(Some(0))).unwrap();
    let found = values(none.column("numbers").unwrap());
    assert!(found[0] == Some(0.0) && found[1..].iter().all(|v| v.is_some_and(f64::is_nan)));
}

#[test]
fn unfit_columns_are_refused_with_row_and_value() {
    let usd = |values: &[Option<f64>]| Column::new("usd".into(), values);
    let whole = Column::new("usd".into(), [1i64, 2]);
    for (result, part) in [
        (log_returns(&usd(&[Some(1.0), Some(0.0)])), "usd in row 2 is 0,"),
        (log_returns(&usd(&[None, Some(1.0)])), "usd in row 1 is missing"),
        (log_returns(&whole), "usd holds Int64"),
        (trailing_volatility(&usd(&[Some(1.0), Some(f64::NAN)]), 2), "row 2 is NaN"),
        (trailing_volatility(&usd(&[Some(1.0)]), 1), "days is 1, but it must be at least 2"),
        (days_since_halving(&whole), "usd holds Int64, but dates are needed"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    let empty = Column::new("date".into(), [None::<i32>]).cast(&DataType::Date).unwrap();
    assert!(moon_phase(&empty).unwrap_err().to_string().contains("date in row 1 is missing"));
    assert!(calendar(&whole).is_err());
}

#[test]
fn a_learner_adds_a_column_and_makes_windows_of_it() {
    let mut frame: DataFrame = bitcoin_inputs(&prices()).unwrap();
    let ratio = (frame.column("usd").unwrap() / frame.column("eur").unwrap()).unwrap();
    frame.with_column(ratio.with_name("ratio".into())).unwrap();
    let split = TimeSplit { past_steps: 10, future_steps: 5, test_fraction: 0.25, gap: 7 };
    let columns = ["ratio", "usd_volatility_30", "moon_cos"];
    let (train, test) = split.windows(&frame, &columns).unwrap();
    // The first thirty rows have no volatility: 170 remain, of which 43 are tested on.
    assert_eq!(split.parts(170).unwrap(), (0..120, 127..170));
    assert_eq!((train.len(), test.len()), (120 - 14, 43 - 14));
    let value = |name: &str, row: usize| values(frame.column(name).unwrap())[row].unwrap() as f32;
    let row = |row: usize| columns.map(|name| value(name, row));
    assert_eq!(train.window(0).unwrap().past[..3], row(30));
    assert_eq!(train.window(105).unwrap().future[12..], row(149));
    assert_eq!(test.window(0).unwrap().past[..3], row(157));
    assert_eq!(test.window(28).unwrap().future[12..], row(199));
}

#[test]
fn impossible_splits_are_refused() {
    let frame = prices().frame().clone();
    let message = |split: TimeSplit, columns: &[&str]| {
        split.windows(&frame, columns).unwrap_err().to_string()
    };
    let split = TimeSplit::default();
    for test_fraction in [0.0, 1.0, -1.0, f64::NAN] {
        let message = message(TimeSplit { test_fraction, ..split }, &["usd"]);
        assert!(message.contains(&format!("test_fraction is {test_fraction}")), "{message}");
    }
    assert!(message(split, &["usd"]).contains("is 80, but it must be at most 40"));
    assert!(message(TimeSplit { gap: 1000, ..split }, &["usd"]).contains("at most 0"));
    let split = TimeSplit { past_steps: 5, future_steps: 5, ..split };
    assert!(message(TimeSplit { past_steps: 0, ..split }, &["usd"]).contains("past_steps is 0"));
    assert!(message(split, &[]).contains("columns is empty"));
    assert!(message(split, &["usd", "gbp"]).contains("no column \"gbp\""));
    assert!(message(split, &["date"]).contains("date holds Date, and no numbers"));
    let mut holes = frame.clone();
    let column: Vec<Option<f64>> = (0..200).map(|i| (i != 50).then_some(1.0)).collect();
    holes.with_column(Column::new("holes".into(), column)).unwrap();
    let message = split.windows(&holes, &["holes"]).unwrap_err().to_string();
    assert!(message.contains("holes in row 51 is missing"), "{message}");
}

proptest! {
    #[test]
    fn inputs_of_a_day_do_not_depend_on_later_days(day in 1..200_usize, factor in 0.2..5.0_f64) {
        let before = prices();
        let mut changed = before.frame().clone();
        for name in ["usd", "eur"] {
            let values = values(before.frame().column(name).unwrap()).into_iter().enumerate();
            let other = |(row, value): (usize, Option<f64>)| {
                value.map(|v| if row < day { v } else { v * factor })
            };
            let column: Vec<Option<f64>> = values.map(other).collect();
            changed.with_column(Column::new(name.into(), column)).unwrap();
        }
        let after = Prices::from_frame(&changed, Gaps::Refuse).unwrap();
        let (before, after) = (bitcoin_inputs(&before).unwrap(), bitcoin_inputs(&after).unwrap());
        prop_assert!(before.head(Some(day)).equals_missing(&after.head(Some(day))));
        prop_assert!(!before.equals_missing(&after) || (factor - 1.0).abs() < 1e-9);
        // Nor on whether there are later days.
        let short = Prices::from_frame(&changed.head(Some(day)), Gaps::Refuse).unwrap();
        let short = bitcoin_inputs(&short).unwrap();
        prop_assert!(short.equals_missing(&before.head(Some(day))));
    }

    #[test]
    fn no_window_crosses_the_split(
        rows in 1..400_usize,
        past_steps in 1..40_usize,
        future_steps in 1..40_usize,
        test_fraction in 0.01..0.99_f64,
        gap in 0..50_usize,
    ) {
        let split = TimeSplit { past_steps, future_steps, test_fraction, gap };
        let column = Column::new("row".into(), (0..rows as i32).collect::<Vec<_>>());
        let frame = DataFrame::new(rows, vec![column]).unwrap();
        let result = split.windows(&frame, &["row"]);
        prop_assert_eq!(result.is_ok(), split.parts(rows).is_ok());
        let Ok((train, test)) = result else { return Ok(()) };
        let last = train.future().iter().copied().fold(0.0, f32::max);
        let first = test.past().iter().copied().fold(f32::INFINITY, f32::min);
        prop_assert_eq!(first - last, (gap + 1) as f32);
        prop_assert_eq!(test.future()[test.future().len() - 1], (rows - 1) as f32);

        let (train_rows, _) = split.parts(rows).unwrap();
        let known = frame.head(Some(train_rows.end));
        prop_assert_eq!(split.all_windows(&known, &["row"]).unwrap(), train);
    }
}

use chrono::Days;

use super::Day;
use super::file::Place;

/// Dollars for one euro. The European Central Bank's rate has stayed well within since 2003.
const RATE: std::ops::RangeInclusive<f64> = 0.9..=1.6;
/// So many days with equal prices are a copied column, not a coincidence at a rate of 1.
const EQUAL_DAYS: usize = 5;
/// A larger part of the price, gained or lost in one day, is worth a warning.
const LARGE_MOVE: f64 = 0.5;

/// What is done about days that are missing between two others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// An error that names the days.
    #[default]
    Refuse,
    /// Up to `days` missing days in a row get the last prices before them, with a warning that
    /// names them; more are an error. A filled day looks like a day without a move, so keep it low.
    FillForward {
        /// Most days in a row that are filled.
        days: usize,
    },
}

/// Checks prices in the order of their rows, fills gaps when `gaps` says so, and returns the days
/// with what is worth a warning. `place` names a row as its reader finds it.
pub(super) fn check(
    rows: &[Day],
    place: Place,
    gaps: Gaps,
) -> Result<(Vec<Day>, Vec<String>), String> {
    if rows.is_empty() {
        return Err("there is no day in it".into());
    }
    let (mut days, mut warnings) = (Vec::with_capacity(rows.len()), Vec::new());
    let mut equal = 0;
    for (i, &day) in rows.iter().enumerate() {
        check_values(&day).map_err(|reason| format!("{}, {}: {reason}", place(i), day.date))?;
        equal = if day.usd == day.eur { equal + 1 } else { 0 };
        if equal == EQUAL_DAYS.min(rows.len()) {
            return Err(format!(
                "{}, {}: usd and eur are both {}, and equal on {equal} days in a row; they must be \
                 two different series",
                place(i),
                day.date,
                day.usd
            ));
        }
        if let Some(&last) = days.last() {
            let filled =
                step(&last, &day, gaps).map_err(|reason| format!("{}: {reason}", place(i)))?;
            if let [first, .., end] | [first @ end] = &filled[..] {
                warnings.push(format!(
                    "{} to {}: {} missing days have the prices of {}",
                    first.date,
                    end.date,
                    filled.len(),
                    last.date
                ));
            }
            days.extend(filled);
            for (name, from, to) in [("usd", last.usd, day.usd), ("eur", last.eur, day.eur)] {
                let change = to / from - 1.0;
                if change.abs() > LARGE_MOVE {
                    warnings.push(format!(
                        "{}, {}: {name} moved by {:+.0} % in a day, from {from} to {to}",
                        place(i),
                        day.date,
                        100.0 * change
                    ));
                }
            }
        }
        days.push(day);
    }
    Ok((days, warnings))
}

fn check_values(day: &Day) -> Result<(), String> {
    for (name, value) in [("usd", day.usd), ("eur", day.eur)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(format!("{name} is {value}, but a price must be finite and above 0"));
        }
    }
    let rate = day.usd / day.eur;
    if !RATE.contains(&rate) {
        return Err(format!(
            "usd / eur is {} / {} = {rate:.4}, but it must be from {} to {}",
            day.usd,
            day.eur,
            RATE.start(),
            RATE.end()
        ));
    }
    Ok(())
}

/// The days to fill in between two rows.
fn step(last: &Day, next: &Day, gaps: Gaps) -> Result<Vec<Day>, String> {
    if next.date == last.date {
        return Err(format!("the date {} is there twice", next.date));
    }
    if next.date < last.date {
        return Err(format!(
            "the date {} comes after {}; dates must increase",
            next.date, last.date
        ));
    }
    let missing = (next.date - last.date).num_days() as usize - 1;
    let (allowed, advice) = match gaps {
        Gaps::Refuse => (0, "none may be missing, unless gaps are filled on request"),
        Gaps::FillForward { days } => (days, "that is more than may be filled"),
    };
    if missing > allowed {
        let (first, until) = (last.date + Days::new(1), next.date - Days::new(1));
        let which = match missing {
            1 => format!("the day {first} is missing"),
            n => format!("the {n} days from {first} to {until} are missing"),
        };
        return Err(format!("{which} before {}; {advice}", next.date));
    }
    Ok(last.date.iter_days().skip(1).take(missing).map(|date| Day { date, ..*last }).collect())
}

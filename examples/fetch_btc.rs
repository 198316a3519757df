//! Fetches real daily prices of bitcoin into `data/btc_usd_eur.csv`; `cargo workbook fetch-btc` runs
//! it. Whose prices they are, and what may be done with them, is in `data/README.md`.

use seq2seq::prelude::*;
use std::process::ExitCode;

fn main() -> ExitCode {
    match fetch_bitcoin(&BitcoinFetch::default(), |line| println!("{line}")) {
        Ok(prices) => {
            println!("{prices}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

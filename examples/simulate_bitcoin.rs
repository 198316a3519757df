//! Writes the simulated prices that ship, byte for byte:
//!
//! ```text
//! cargo run --features polars --example simulate_bitcoin data/simulated_btc_usd_eur.csv
//! ```

use seq2seq::prelude::*;

fn main() -> Result<()> {
    let prices = simulated_bitcoin(SimulatedBitcoin::default())?;
    println!("{prices}");
    if let Some(path) = std::env::args().nth(1) {
        prices.save(&path)?;
        println!("written: {path}");
    }
    Ok(())
}

use seq2seq::data::data_folder;
use seq2seq::prelude::*;
use std::fs;
use tempfile::tempdir;

const SHA256: &str = "133813e713d74500070e8394b2627ee173eadb328746a854bea64d740fbc563b";

#[test]
fn the_file_that_ships_is_what_the_code_makes() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("prices.csv");
    simulated_bitcoin(SimulatedBitcoin::default()).unwrap().save(&path).unwrap();
    let shipped = data_folder().unwrap().join("simulated_btc_usd_eur.csv");
    let (made, shipped) = (fs::read(path).unwrap(), fs::read(shipped).unwrap());
    assert!(made == shipped, "run the example simulate_bitcoin");
    assert_eq!(crate::sha256(&shipped), SHA256);
    let readme = fs::read_to_string(data_folder().unwrap().join("README.md")).unwrap();
    assert!(readme.contains(SHA256), "data/README.md states another checksum");
}

#[test]
fn simulated_prices_say_so() {
    let prices = simulated_bitcoin(SimulatedBitcoin { days: 10, seed: 3 }).unwrap();
    assert!(prices.is_simulated());
    assert!(prices.to_string().starts_with("SIMULATED"), "{prices}");
    assert_eq!(prices, simulated_bitcoin(SimulatedBitcoin { days: 10, seed: 3 }).unwrap());
    assert_ne!(prices, simulated_bitcoin(SimulatedBitcoin { days: 10, seed: 4 }).unwrap());
    for days in [0, 10_001] {
        let message =
            simulated_bitcoin(SimulatedBitcoin { days, seed: 3 }).unwrap_err().to_string();
        assert!(message.contains(&format!("days is {days}")), "{message}");
    }
}

/// The moments that the formulas imply, over twenty seeds of ten thousand days less the beginning of
/// each. The logarithm of the variance is normal with mean -7 and deviation 0.2 / sqrt(1 - 0.97^2), so
/// that returns have the variance exp(-7 + 0.677 / 2) and the kurtosis 3 exp(0.677); rates have the
/// deviation 0.004 / sqrt(2 * 0.005 - 0.005^2).
#[test]
fn simulated_prices_have_the_moments_of_their_formulas() {
    let (mut returns, mut rates) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let Ok(prices) = simulated_bitcoin(SimulatedBitcoin { days: 10_000, seed }) else {
            continue;
        };
        let column = |name: &str| -> Vec<f64> {
            prices.frame().column(name).unwrap().f64().unwrap().into_no_null_iter().collect()
        };
        let (usd, eur) = (column("usd"), column("eur"));
        returns.extend(usd.windows(2).skip(1000).map(|pair| (pair[1] / pair[0]).ln()));
        rates.extend(usd.iter().zip(&eur).skip(1000).map(|(usd, eur)| (usd / eur).ln()));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let central = |values: &[f64], power: i32| {
        let middle = mean(values);
        mean(&values.iter().map(|v| (v - middle).powi(power)).collect::<Vec<_>>())
    };
    let spread: f64 = 0.04 / (1.0 - 0.97 * 0.97);
    let variance = (-7.0 + spread / 2.0).exp();
    assert!(returns.len() > 150_000);
    assert!((mean(&returns) - 0.001).abs() < 4e-4, "{}", mean(&returns));
    assert!((central(&returns, 2) / variance - 1.0).abs() < 0.1, "{}", central(&returns, 2));
    let kurtosis = central(&returns, 4) / central(&returns, 2).powi(2);
    assert!((kurtosis - 3.0 * spread.exp()).abs() < 1.0, "{kurtosis}");
    let deviation = 0.004 / (0.01_f64 - 0.000_025).sqrt();
    assert!((central(&rates, 2).sqrt() / deviation - 1.0).abs() < 0.1, "{}", central(&rates, 2));
    assert!((mean(&rates) - 1.15_f64.ln()).abs() < 0.01, "{}", mean(&rates));
}

#[test]
fn the_prices_of_the_project_are_simulated_or_say_where_they_come_from() {
    let prices = bitcoin_prices().unwrap();
    let text = prices.to_string();
    match data_folder().unwrap().join("btc_usd_eur.csv").exists() {
        false => assert!(prices.is_simulated() && text.starts_with("SIMULATED"), "{text}"),
        true => assert!(!prices.is_simulated() && text.starts_with("real prices"), "{text}"),
    }
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
}

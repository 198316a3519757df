//! The fused kernels against the readable reference over a whole training. (`layers` holds a single
//! stack against it.)

use seq2seq::layers::{ParameterMut, Parameters};
use seq2seq::prelude::*;
use seq2seq::train::loss;

fn scaled() -> (Dataset, Dataset) {
    let data = sine_cosine(SineCosine::default()).unwrap();
    let (train, validation) = data.split(0.15).unwrap();
    let scale = |data: &Dataset| WindowScaler::fit_transform(data).1;
    (scale(&train), scale(&validation))
}

#[test]
fn a_whole_training_follows_the_reference() {
    let hyperparameters = Hyperparameters::default();
    let (train, validation) = scaled();
    let mut fused = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let mut reference = fused.clone();
    let history = fit(&mut fused, &train, &validation, &hyperparameters).unwrap();

    let dev = Cpu::default();
    let mut adam = Adam::new(hyperparameters.learning_rate, hyperparameters.weight_decay);
    for (i, epoch) in history.epochs().iter().enumerate() {
        let batches = train.batches(hyperparameters.batch_size, hyperparameters.seed, i + 1);
        for batch in batches.unwrap() {
            let past: Sequence = batch.past_tensor(&dev);
            let prediction = reference.forward_reference(past.leaky_traced(), 10).unwrap();
            let loss = loss(prediction, batch.future_tensor(&dev)).unwrap();
            adam.update(&mut reference, loss.backward()).unwrap();
        }
        let past: Sequence = validation.past_tensor(&dev);
        let prediction = reference.forward_reference(past, 10).unwrap().as_vec();
        let expected = mse_of_feature(&prediction, &validation, 0).unwrap();
        let error = (epoch.validation_mse - expected).abs();
        assert!(error < 1e-3 * expected, "epoch {i}: {} not {expected}", epoch.validation_mse);
    }
}

#[test]
fn one_thread_and_two_train_the_same_model_bit_for_bit() {
    let (train, validation) = scaled();
    let hyperparameters = Hyperparameters { epochs: 3, batch_size: 70, ..Default::default() };
    let trained = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
            fit(&mut model, &train, &validation, &hyperparameters).unwrap();
            let weights = model.parameters().into_iter().flat_map(|(_, p)| p.to_vec());
            (weights.collect::<Vec<f32>>(), model.predict(&validation).unwrap())
        })
    };
    let one = trained(1);
    assert_eq!(one, trained(2));
    assert_eq!(one, trained(5));
}

#[test]
fn one_series_and_thousands_are_predicted_alike() {
    let model = Seq2Seq::stacked(2, &Hyperparameters::default()).unwrap();
    let data = sine_cosine(SineCosine { series: 3000, ..Default::default() }).unwrap();
    let all = model.predict(&data).unwrap();
    for series in [0, 1, 7, 8, 1499, 2999] {
        let alone = model.predict(&data.select([series]).unwrap()).unwrap();
        assert_eq!(alone, all[series * 20..][..20], "series {series}");
    }
}

#[test]
fn biases_that_differ_are_not_mixed_up() {
    // b_ih and b_hh of the candidate gate stand on different sides of the reset gate.
    let dev = Cpu::default();
    let mut gru = Gru::new(1, &[1], &mut Initializer::new(1), &dev).unwrap();
    let outputs = |gru: &Gru| {
        let x: Sequence = dev.ones_like(&(1, 2, 1));
        gru.forward(x, None).unwrap().0.as_vec()
    };
    let mut with = |name: &str| {
        for (n, parameter) in gru.parameters_mut() {
            if let ParameterMut::Vector(bias) = parameter {
                bias.copy_from(if n.starts_with(name) { &[0.0, 0.0, 1.0] } else { &[0.0; 3] });
            }
        }
        outputs(&gru)
    };
    assert_ne!(with("bias_ih"), with("bias_hh"));
}

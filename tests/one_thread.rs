//! What happens beside each other when the thread pool has one thread, as in a session on one core. A
//! program of its own, because the pool is one for each process.

use seq2seq::prelude::*;
use seq2seq::train::End;

#[test]
fn a_prediction_does_not_wait_for_the_epoch_of_a_training_in_the_background() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    let of = |series| sine_cosine(SineCosine { series, ..Default::default() }).unwrap();
    let (large, small) = (of(100_000), of(200));
    let hyperparameters = Hyperparameters { hidden_size: 40, ..Default::default() };
    let model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let expected = model.predict(&small).unwrap();
    let training = Training::spawn(&model, &large, &small, &hyperparameters).unwrap();
    while training.to_string().starts_with("epoch 0.0 ") {
        std::thread::yield_now(); // until it has begun
    }
    assert_eq!(model.predict(&small).unwrap(), expected);
    assert!(training.history().is_err(), "the prediction waited for the first epoch");
    training.stop();
    let (_, history) = training.finish().unwrap();
    assert_eq!((history.epochs().len(), history.end()), (1, End::Stopped));
}

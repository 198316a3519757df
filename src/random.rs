//! Random numbers from a seed: one stream for each purpose, so that equal seeds never give two things
//! the same draws.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    /// The values of a signal.
    Signal,
    /// The noise that is added to a signal.
    Noise,
    /// The first weights of a network.
    Weights,
    /// The order of the series in an epoch.
    Order {
        /// Number of the epoch.
        epoch: usize,
    },
    /// The outputs that dropout sets to zero.
    Dropout {
        /// How many times the layer has dropped before.
        call: u64,
    },
    /// Whether a decoder reads the truth or its own output.
    Feeding,
}

/// The generator of one purpose. ChaCha has 2⁶⁴ streams for each seed, and none repeats a part of another
/// one (D. Bernstein, *ChaCha, a variant of Salsa20*, 2008: the stream is the nonce).
pub(crate) fn stream(seed: u64, stream: Stream) -> ChaCha8Rng {
    const INDEX_BITS: u32 = 56;
    let (purpose, index) = match stream {
        Stream::Signal => (0, 0),
        Stream::Noise => (1, 0),
        Stream::Weights => (2, 0),
        Stream::Order { epoch } => (3, epoch as u64),
        Stream::Dropout { call } => (4, call),
        Stream::Feeding => (5, 0),
    };
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(purpose << INDEX_BITS | (index & ((1 << INDEX_BITS) - 1)));
    generator
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use std::collections::HashSet;

    #[test]
    fn equal_seeds_give_every_purpose_other_draws() {
        let streams = [
            Stream::Signal,
            Stream::Noise,
            Stream::Weights,
            Stream::Order { epoch: 0 },
            Stream::Order { epoch: 1 },
            Stream::Dropout { call: 0 },
            Stream::Dropout { call: 1 },
            Stream::Feeding,
        ];
        let draws = |of| {
            let mut generator = stream(42, of);
            (0..100).map(move |_| generator.random::<u64>())
        };
        let distinct: HashSet<u64> = streams.into_iter().flat_map(draws).collect();
        assert_eq!(distinct.len(), 100 * streams.len());
    }
}

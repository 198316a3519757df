//! The CPU kernels against plain references, PyTorch's numbers, and themselves at other
//! instruction sets and numbers of threads.

mod activations;
mod cells;
mod gru_layer;
mod head;
mod networks;
mod reference;
mod seq2seq_step;

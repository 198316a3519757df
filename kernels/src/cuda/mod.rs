//! placeholder
use crate::DecoderInput;
use crate::optimizer::{BETA_1, BETA_2, EPSILON, Optimizer, Settings};
use crate::seq2seq::NetworkShape;

pub mod arguments;
pub mod plan;

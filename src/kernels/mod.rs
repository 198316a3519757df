//! Recurrent layers over time, as operations on dfdx's tape.

pub mod reference;

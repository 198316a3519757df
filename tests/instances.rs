//! That a crate beside this one, as each notebook cell is, does not compile anew what `src/instances.rs`
//! has compiled: the same list, compiled here, finds the functions at the same places.

use seq2seq::{Forecast, Result, Sequence, State, data, layers, model, train};

#[allow(unreachable_pub)] // it is public where it belongs
#[path = "../src/instances.rs"]
mod instances;

#[test]
fn another_crate_takes_generic_functions_from_where_they_are_compiled() {
    let (here, there) = (instances::addresses(), seq2seq::instances::addresses());
    assert_eq!(here.len(), there.len());
    let anew: Vec<_> = (0..here.len()).filter(|&i| here[i] != there[i]).collect();
    assert!(anew.is_empty(), "compiled anew, by their places in the list: {anew:?}");
}

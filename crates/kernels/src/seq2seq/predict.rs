//! The forward pass alone.

use super::network::{Network, NetworkPass};
use super::workspace::Workspace;
use crate::tile::{Scatter, Tile};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

impl Network {
    /// The predictions (N, F, O) for the pasts (N, P, D), for any number of steps F, which need
    /// not be the number that was trained.
    pub fn predict(&self, past: &[f32], past_steps: usize, future_steps: usize) -> Vec<f32> {
        let all = self.predict_while(past, past_steps, future_steps, &|| true);
        all.expect("nothing ends it early")
    }

    /// As [`predict`](Network::predict), but calls `go_on` before each layer of each tile, and returns
    /// `None` when `go_on` has returned false.
    pub fn predict_while(
        &self,
        past: &[f32],
        past_steps: usize,
        future_steps: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<f32>> {
        let past_len = past_steps * self.shape.features;
        let future_len = future_steps * self.shape.outputs;
        assert!(past_steps > 0 && future_steps > 0 && past.len().is_multiple_of(past_len));
        let series = past.len() / past_len;
        let mut output = vec![0.0; series * future_len];

        let steps = [past_steps, future_steps];
        let workspace = |width| Workspace::new(&self.shape, steps, width, false, None);
        let ended = AtomicBool::new(false);
        let run = |work: &mut Workspace, tile: Tile, output: &mut [f32]| {
            let width = tile.width();
            tile.gather(&mut work.past[..past_len * width], past, past_len);
            if !(NetworkPass { network: self, tile, steps, dropout: None }).forward(work, go_on) {
                return ended.store(true, Ordering::Relaxed);
            }
            let rows = &work.output[..future_len * width];
            tile.level.run(Scatter::<false> { rows, width, series: output, len: future_len });
        };
        let mut rest = &mut output[..];
        let jobs = Tile::all(series, self.level).map(|tile| {
            (tile, rest.split_off_mut(..tile.count * future_len).expect("outputs of all tiles"))
        });
        if series <= Tile::whole(self.level) {
            // Not worth a thread.
            jobs.for_each(|(tile, output)| run(&mut workspace(tile.width()), tile, output));
        } else {
            let jobs: Vec<_> = jobs.collect();
            jobs.into_par_iter().for_each_init(
                || workspace(Tile::whole(self.level)),
                |work, (tile, output)| run(work, tile, output),
            );
        }
        (!ended.into_inner()).then_some(output)
    }
}

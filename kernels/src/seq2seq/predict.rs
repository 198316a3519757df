//! The forward pass alone.

use super::network::Network;
use super::pass::ForwardPass;
use super::workspace::Workspace;
use crate::tile::{Gather, MAX_VECTORS, Scatter, Tile};
use rayon::prelude::*;

impl Network {
    /// The predictions (N, F, O) for the pasts (N, P, D), for any number of steps F, which need
    /// not be the number that was trained.
    pub fn predict(&self, past: &[f32], past_steps: usize, future_steps: usize) -> Vec<f32> {
        let past_len = past_steps * self.shape.features;
        let future_len = future_steps * self.shape.outputs;
        assert!(past_steps > 0 && future_steps > 0 && past.len().is_multiple_of(past_len));
        let series = past.len() / past_len;
        let lanes = self.level.lanes();
        let mut output = vec![0.0; series * future_len];

        let workspace = |vectors| {
            let width = vectors * lanes;
            Workspace::new(&self.shape, past_steps, future_steps, width, false)
        };
        let run = |work: &mut Workspace, tile: Tile, output: &mut [f32]| {
            let width = tile.vectors * lanes;
            self.level.run(Gather {
                rows: &mut work.past[..past_len * width],
                width,
                count: tile.count,
                series: |lane| &past[(tile.first + lane) * past_len..][..past_len],
            });
            self.level.run(ForwardPass { network: self, work, vectors: tile.vectors });
            let rows = &work.output[..future_len * width];
            self.level.run(Scatter::<false> { rows, width, series: output, len: future_len });
        };
        if series <= Tile::whole(lanes) {
            // One tile: not worth a thread.
            if series > 0 {
                let tile = Tile::of(series, lanes, 0);
                run(&mut workspace(tile.vectors), tile, &mut output);
            }
            return output;
        }
        output.par_chunks_mut(Tile::whole(lanes) * future_len).enumerate().for_each_init(
            || workspace(MAX_VECTORS),
            |work, (i, output)| run(work, Tile::of(series, lanes, i), output),
        );
        output
    }
}

"""captioning bundle: make a bundle from a run's checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from captioning.commands._bundles import add_trust


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning bundle",
        description="Make a bundle from any checkpoint of a run, or from the average of several. A bundle is the "
        "folder that `captioning caption` and `Captioner.from_pretrained` read.",
        epilog="examples: captioning bundle runs/2026-01-31/checkpoints/last.ckpt my_bundle; captioning bundle "
        "runs/2026-01-31/checkpoints/epoch_*.ckpt average, after training with callbacks.checkpoint.save_top_k=-1",
    )
    parser.add_argument(
        "checkpoint", nargs="+", help="a .ckpt file from a run's checkpoints/; of several, the weights are averaged"
    )
    parser.add_argument("out", help="folder of the new bundle; must be empty or not exist")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from captioning.training.checkpoints import bundle_checkpoints

    print(bundle_checkpoints(options.checkpoint, options.out, trust=options.trust))
    return 0

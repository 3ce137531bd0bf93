"""captioning bundle: make a bundle from a run's checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from captioning.commands._bundles import add_trust


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning bundle",
        description="Make a bundle from any checkpoint of a run. A bundle is the folder that `captioning caption` "
        "and `Captioner.from_pretrained` read.",
        epilog="example: captioning bundle runs/2026-01-31/checkpoints/last.ckpt my_bundle",
    )
    parser.add_argument("checkpoint", help="a .ckpt file from a run's checkpoints/")
    parser.add_argument("out", help="folder of the new bundle; must be empty or not exist")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from captioning.training.checkpoints import bundle_checkpoint

    print(bundle_checkpoint(options.checkpoint, options.out, trust=options.trust))
    return 0

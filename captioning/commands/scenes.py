"""captioning scenes: write the generated data set."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from captioning.commands import parse_arguments


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning scenes",
        description="Write a data set of drawn scenes with true captions and boxes, in COCO's layout. The same seed "
        "gives the same images. If the data set already exists, nothing is done.",
        epilog="example: captioning scenes data/scenes --train 4000",
    )
    parser.add_argument("root", help="folder of the data set")
    parser.add_argument("--train", type=int, default=4000, help="images in the training split (default: 4000)")
    parser.add_argument("--val", type=int, default=200, help="images in the validation split (default: 200)")
    parser.add_argument("--test", type=int, default=400, help="images in the test split (default: 400)")
    parser.add_argument("--size", type=int, default=96, help="width and height in pixels (default: 96)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="number of processes (default: one per core)"
    )
    options = parse_arguments(parser, arguments)

    from captioning.data.scenes import write_scenes

    write_scenes(
        options.root,
        seed=options.seed,
        num_train=options.train,
        num_val=options.val,
        num_test=options.test,
        size=options.size,
        workers=options.workers,
    )
    return 0

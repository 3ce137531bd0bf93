"""captioning scenes: make the generated data set."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning scenes",
        description="Make a data set of rendered scenes with true captions and boxes, in COCO's layout; the same seed "
        "makes the same images. A second call returns at once.",
        epilog="example: captioning scenes data/scenes --train 4000",
    )
    parser.add_argument("root", help="the data set's folder")
    parser.add_argument("--train", type=int, default=4000, help="images in the training split (default 4000)")
    parser.add_argument("--val", type=int, default=200, help="images in val (default 200)")
    parser.add_argument("--test", type=int, default=400, help="images in test (default 400)")
    parser.add_argument("--size", type=int, default=96, help="width and height in pixels (default 96)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes that draw (default: a core each)"
    )
    options = parser.parse_args(arguments)

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

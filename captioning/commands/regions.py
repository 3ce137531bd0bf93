"""captioning regions: caption the regions of images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import parse_arguments, positive
from captioning.commands._bundles import add_batches, add_model, add_trust, json_line, load, one_line, printable
from captioning.commands._images import batches, find, new_png

if TYPE_CHECKING:
    from captioning.model.region_captions import CaptionedRegions


def main(arguments: Sequence[str]) -> int:
    """Run the command. All readable images are captioned; the status is 1 if any could not be read."""
    parser = argparse.ArgumentParser(
        prog="captioning regions",
        description="Caption the grid cells of images. Cells with the same caption are one region. The number is its "
        "log-probability for each word. An image that cannot be read is skipped; the exit status is then 1.",
        epilog="example: captioning regions holiday/ cat.jpg --model runs/regions/bundle --most 5 --out drawn/",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders and globs")
    add_model(parser, "a captioner of regions")
    parser.add_argument("--most", type=positive, default=5, help="regions of each image, the best ones (default 5)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="draw each image with its regions and their captions")
    parser.add_argument(
        "--json", action="store_true", help='print {"image", "regions": [{"caption", "score", "cells"}]}; cells from 0'
    )
    add_batches(parser, "images")
    add_trust(parser)
    options = parse_arguments(parser, arguments)

    paths, num_bad = find(options.images, "regions")
    if not paths:
        return 1
    captioner = load(options.model, options.device, options.trust).pack()

    from captioning.model.attention_maps import save_figure, shown_pixels
    from captioning.model.region_captions import caption_regions, draw_regions

    for read, images, bad in batches(captioner, paths, options.batch_size, "regions"):
        num_bad += bad
        if images is None:
            continue
        found = caption_regions(captioner, images, most=options.most)
        for path, own in zip(read, found, strict=True):
            if options.json:
                regions = [{"caption": r.text, "score": r.score, "cells": list(r.cells)} for r in own.regions]
                print(json_line({"image": str(path), "regions": regions}), flush=True)
            else:
                _print(path, own)
        if options.out is not None:  # printed captions are not lost if a drawing cannot be written
            for path, pixels, own in zip(read, shown_pixels(images, captioner.image_transform), found, strict=True):
                save_figure(draw_regions(pixels, own), new_png(options.out, path), dpi=100)
    return int(num_bad > 0)


def _print(path: Path | str, found: CaptionedRegions) -> None:
    """Print an image's name, and below it the captions of its regions with their first cells."""
    print(f"{printable(str(path))}:")
    columns = found.shape[1]
    for region in found.regions:
        row, column = divmod(region.cells[0], columns)
        others = f" and {len(region.cells) - 1} more" if len(region.cells) > 1 else ""
        print(f"  row {row + 1}, column {column + 1}{others}: {one_line(region.text)} ({region.score:.2f})", flush=True)

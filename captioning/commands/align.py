"""captioning align: say which region of an image each word of a sentence is about."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import parse_arguments
from captioning.commands._bundles import add_model, add_trust, json_line, load_as, one_line
from captioning.errors import InputError


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning align",
        description="Print the region of each word of a sentence: the row and the column of a grid cell, counted from "
        "1 at the top left, or `image` for the whole image.",
        epilog='example: captioning align dog.jpg "a dog on a red sofa" --model runs/alignment/bundle --out dog.png',
    )
    parser.add_argument("image", metavar="IMAGE", help="an image's file")
    parser.add_argument("sentence", metavar="SENTENCE", help="what is aligned")
    add_model(parser, "a matcher")
    parser.add_argument(
        "--beta", type=float, default=0.0, help="how strongly neighbouring words share a region (default 0: not at all)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="draw the words on their regions, as PNG")
    parser.add_argument(
        "--json", action="store_true", help='print {"score", "words", "regions"}; region -1 is the image'
    )
    parser.add_argument("--device", default="cpu", help="such as cuda (default cpu)")
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    if not Path(options.image).is_file():
        raise InputError(f"{options.image}: there is no such file; name one image")

    from captioning.model.aligner import Aligner
    from captioning.model.maps import draw_maps, grid_shape, save_figure, word_maps

    model = load_as(Aligner, options.model, options.device, options.trust)
    images = model.pixels([options.image])
    features = model.encode(images)
    found = model.align_features(features, options.sentence, beta=options.beta)
    assert features.grid is not None  # or the words would have no regions
    _, columns = grid_shape(features.grid.shape[1], *model.image_transform.size)
    if options.json:
        print(json_line({"score": found.score, "words": list(found.words), "regions": list(found.regions)}))
    else:
        for word, region in zip(found.words, found.regions, strict=True):
            where = "image" if region < 0 else f"row {region // columns + 1}, column {region % columns + 1}"
            print(f"{one_line(word)}: {where}")
    if options.out is not None:
        save_figure(draw_maps(word_maps(model, images, features, found)), options.out, dpi=80)
    return 0

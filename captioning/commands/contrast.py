"""captioning contrast: make a bundle that prefers words of this image to words of any image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from captioning.commands import parse_arguments
from captioning.commands._bundles import add_trust, load
from captioning.commands._images import find

STRENGTH = 0.3


def main(arguments: Sequence[str]) -> int:
    """Run the command. Nothing is written if an image cannot be read; the status is then 1."""
    parser = argparse.ArgumentParser(
        prog="captioning contrast",
        usage="captioning contrast MODEL (--language-model WHERE | --images PATH ...) -o DIR [options]",
        description="Make a captioner that prefers words of this image to words of any image: each word's probability "
        "is divided by the power L of its probability without the image, or of its mean for other images. The new "
        "bundle is used as any other.",
        epilog="example: captioning contrast runs/best --language-model runs/language_model -o contrast --strength 0.2",
    )
    parser.add_argument("model", metavar="MODEL", help="the captioner: its bundle, its run's folder, or a checkpoint")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--language-model", metavar="WHERE", help="a language model of the same vocabulary")
    against.add_argument("--images", nargs="+", metavar="PATH", help="files, folders and globs; each one costs a step")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the new bundle")
    parser.add_argument(
        "--strength", type=float, default=STRENGTH, metavar="L", help=f"0 changes nothing (default {STRENGTH})"
    )
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    paths, num_bad = find(options.images or (), "contrast")
    if num_bad:
        return 1

    from captioning.model.contrast import against_images, against_language_model

    captioner = load(options.model, "cpu", options.trust)
    if options.language_model is None:
        made = against_images(captioner, paths, strength=options.strength)
    else:
        other = load(options.language_model, "cpu", options.trust)
        made = against_language_model(captioner, other, strength=options.strength)
    print(made.save(options.output))
    return 0

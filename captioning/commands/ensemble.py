"""captioning ensemble: make one bundle of several captioners."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from captioning.commands import parse_arguments
from captioning.commands._bundles import add_trust, load
from captioning.errors import InputError, shown

AVERAGES = ("probabilities", "log_probabilities")


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning ensemble",
        description="Make one captioner of several, which predict each word together. They may have different decoders "
        "and encoders, but need one vocabulary. The new bundle is used as any other; its search is the first model's.",
        epilog="example: captioning ensemble runs/seed1/bundle runs/seed2/bundle runs/seed3/bundle -o ensemble",
    )
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="the models' folders, at least two")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the new bundle")
    parser.add_argument(
        "--weights", metavar="W,W", help="how much each model counts, such as 2,1,1 (default: all the same)"
    )
    parser.add_argument(
        "--average",
        choices=AVERAGES,
        default=AVERAGES[0],
        help="what is averaged (default probabilities)",
    )
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    weights = None if options.weights is None else numbers(options.weights)

    from captioning.model.ensemble import ensemble

    captioners = [load(bundle, "cpu", options.trust) for bundle in options.bundles]
    print(ensemble(captioners, weights=weights, average=options.average).save(options.output))
    return 0


def numbers(text: str) -> list[float]:
    """Parse numbers that commas separate.

    Raises:
        InputError: one is not a number.
    """
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"--weights {shown(text)}: expected one number for each model, such as 2,1,1") from error

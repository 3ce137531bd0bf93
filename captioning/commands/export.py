"""captioning export: write a captioner as ONNX."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from captioning.commands import parse_arguments, positive
from captioning.commands._bundles import add_trust, load


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning export",
        description="Write a captioner of images as ONNX, for programs without Python and for browsers: encoder.onnx, "
        "start.onnx, step.onnx, and config.json with the vocabulary, the transform and the search. The files are "
        "compared with the model before the folder appears. Needs pip install 'captioning[export]'.",
        epilog="example: captioning export runs/best exported",
    )
    parser.add_argument("model", help="a bundle, a run's folder or a checkpoint")
    parser.add_argument("out", help="folder of the exported model; must be empty or not exist")
    parser.add_argument(
        "--beam-size", type=positive, help="search with this many beams and nothing else; default: the model's search"
    )
    add_trust(parser)
    options = parse_arguments(parser, arguments)

    from captioning.model.onnx_export import export_onnx
    from captioning.search import BeamSearch

    model = load(options.model, "cpu", options.trust)
    own = model.search
    search = own if options.beam_size is None else BeamSearch(beam_size=options.beam_size, max_length=own.max_length)
    print(export_onnx(model, options.out, search=search))
    return 0

"""captioning concepts: find words in images with a word detector's bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import parse_arguments, positive
from captioning.commands._bundles import add_batches, add_model, add_trust, json_line, load_as, one_line, printable
from captioning.commands._images import batches, find, new_png


def main(arguments: Sequence[str]) -> int:
    """Run the command. Words of all readable images are printed; the status is 1 if any could not be read."""
    parser = argparse.ArgumentParser(
        prog="captioning concepts",
        description="Find words in images. The number after a word is its calibrated probability: the precision of "
        "saying the word, measured on other images. An image that cannot be read is reported and skipped; the exit "
        "status is then 1.",
        epilog="example: captioning concepts holiday/ cat.jpg --model runs/words/bundle --most 5 --maps maps/",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders and globs")
    add_model(parser, "a word detector")
    parser.add_argument("--most", type=positive, default=10, help="words of each image (default 10)")
    parser.add_argument("--maps", type=Path, metavar="DIR", help="draw where in the image each word was detected")
    parser.add_argument(
        "--json",
        action="store_true",
        help='print {"image", "concepts": [{"word", "probability", "score"}]} on each line',
    )
    add_batches(parser, "images")
    add_trust(parser)
    options = parse_arguments(parser, arguments)

    paths, num_bad = find(options.images, "concepts")
    if not paths:
        return 1
    from captioning.model.concept_detector import ConceptDetector
    from captioning.model.maps import concept_maps, draw_maps, save_figure

    model = load_as(ConceptDetector, options.model, options.device, options.trust)
    for read, images, bad in batches(model, paths, options.batch_size, "concepts"):
        num_bad += bad
        if images is None:
            continue
        features = model.encode(images)
        found = model.found(features, most=options.most)
        for path, concepts in zip(read, found, strict=True):
            if options.json:
                print(json_line({"image": str(path), "concepts": [vars(concept) for concept in concepts]}), flush=True)
            else:
                words = ", ".join(f"{one_line(concept.word)} {concept.probability:.2f}" for concept in concepts)
                print(f"{printable(str(path))}: {words}", flush=True)
        if options.maps is not None:  # printed words are not lost if a map cannot be written
            words_of = [[concept.word for concept in concepts] for concepts in found]
            for path, drawn in zip(read, concept_maps(model, images, features, words_of), strict=True):
                save_figure(draw_maps(drawn), new_png(options.maps, path), dpi=80)
    return int(num_bad > 0)

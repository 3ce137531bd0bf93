"""captioning translate: translate sentences with a bundle."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import positive
from captioning.commands._bundles import add_batches, add_trust, json_line, load, one_line, with_beams
from captioning.errors import InputError


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning translate",
        description="Translate sentences with a model trained on text (data=multi30k). Without TEXT, each line of "
        "standard input is a sentence. Each translation is printed on one line.",
        epilog="example: captioning translate runs/de-en/bundle 'Ein Hund rennt im Schnee.' --alignments out/",
    )
    parser.add_argument("bundle", help="the model's folder")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="sentences to translate")
    parser.add_argument(
        "--beam-size", type=positive, help="number of beams; 1 is greedy search (default: the bundle's)"
    )
    add_batches(parser, "sentences")
    parser.add_argument(
        "--alignments", type=Path, metavar="DIR", help="save an image of each sentence's word alignments in DIR"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print {"text", "translation", "score", "finished"} on each line; score is the log-probability',
    )
    add_trust(parser)
    options = parser.parse_args(arguments)

    captioner = load(options.bundle, options.device, options.trust)
    search = with_beams(captioner.search, options.beam_size)
    sentences, num_truncated = options.texts or _lines(), 0
    for start in range(0, len(sentences), options.batch_size):
        texts = sentences[start : start + options.batch_size]
        translations = captioner.translate(texts, search=search, batch_size=options.batch_size)
        num_truncated += sum(not found.finished for found in translations)
        for text, found in zip(texts, translations, strict=True):
            line = {"text": text, "translation": found.text, "score": found.score, "finished": found.finished}
            print(json_line(line) if options.json else one_line(found.text), flush=True)
        if options.alignments is not None:  # after printing, so that an error here loses no translation
            from captioning.model.attention_maps import alignments, draw_alignment, save_figure

            found_in = alignments(captioner, texts, [found.text for found in translations])
            for number, alignment in enumerate(found_in, start=start + 1):
                save_figure(draw_alignment(alignment), options.alignments / f"{number}.png", dpi=120)
    if num_truncated:
        print(
            f"captioning translate: {num_truncated} of {len(sentences)} translations were truncated at "
            f"{search.max_length} tokens",
            file=sys.stderr,
        )
    return 0


def _lines() -> list[str]:
    """Read the lines of standard input. As in `captioning.text.lines`, only line feeds end a line."""
    assert isinstance(sys.stdin, io.TextIOWrapper)
    sys.stdin.reconfigure(encoding="utf-8-sig", newline="\n")
    try:
        return [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 text ({error})") from error

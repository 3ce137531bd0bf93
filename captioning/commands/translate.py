"""captioning translate: translate sentences."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import natural
from captioning.commands._bundles import add_batches, add_trust, json_line, load, one_line
from captioning.commands._search import as_json, asked_for, chosen_search, parsed, print_words, searching_parser
from captioning.errors import InputError

HELP = """\
Translate sentences with a model trained on text (data=multi30k). Each translation is printed on one line.

  TEXT...             sentences to translate; without them, each line of standard input is one
  --model WHERE       a bundle, a run's folder or its checkpoint; given several times, models translate together
  --runners-up N      also the N most probable other words in the place of each word
  --alignments DIR    save an image of each sentence's word alignments in DIR
  --json              {"text", "translation", "score", "finished", "words", "alternatives"} on each line; scores are
                      log-probabilities
  --batch-size N --device NAME --trust PACKAGE    sentences at a time (32); such as cuda; run a package's code

{search}
example: captioning translate 'Ein Hund rennt im Schnee.' --model runs/de-en --alignments out/
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = searching_parser("translate", "[TEXT...] --model WHERE [options]", HELP, thing="sentence")
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--runners-up", type=natural, default=0)
    add_batches(parser, "sentences")
    parser.add_argument("--alignments", type=Path)
    parser.add_argument("--json", action="store_true")
    add_trust(parser)
    options = parsed(parser, arguments, positional="texts")

    captioner = load(options.model, options.device, options.trust).pack()
    search = chosen_search(captioner, options)
    most = asked_for(search, options)
    sentences, num_truncated, num_fewer = options.texts or _lines(), 0, 0
    for start in range(0, len(sentences), options.batch_size):
        texts = sentences[start : start + options.batch_size]
        translations = captioner.translate(
            texts, search=search, batch_size=options.batch_size, runners_up=options.runners_up
        )
        num_truncated += sum(not found.finished for found in translations)
        num_fewer += sum(len(found.alternatives) + 1 < most for found in translations)
        for text, found in zip(texts, translations, strict=True):
            if options.json:
                print(json_line({"text": text, "translation": found.text, **as_json(found, most)}), flush=True)
                continue
            for own in (found, *found.alternatives)[:most]:
                score = f" ({own.score:.2f})" if most > 1 else ""
                print(f"{one_line(own.text)}{score}", flush=True)
                print_words(own)
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
    if num_fewer:
        print(
            f"captioning translate: {num_fewer} of {len(sentences)} sentences have fewer than {most} different "
            "translations",
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

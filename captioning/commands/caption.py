"""captioning caption: caption images."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.commands import natural
from captioning.commands._bundles import add_batches, add_trust, json_line, load, one_line, printable
from captioning.commands._images import batches, find, new_png
from captioning.commands._search import as_json, asked_for, chosen_search, parsed, print_words, searching_parser
from captioning.errors import shown
from captioning.model import shipped

if TYPE_CHECKING:
    from torch import Tensor

    from captioning.model.alt_text import AltText
    from captioning.model.caption import Caption
    from captioning.model.captioner import Captioner
    from captioning.search.hypotheses import Search

DEFAULT = ""
"""Stands for the default notice."""

HELP = """\
Caption images. One that cannot be read is reported and skipped; the exit status is then 1.

  IMAGE...            files, folders and globs; - is an image on standard input
  --model WHERE       a bundle, a run's folder or checkpoint, or a name (flickr8k); several models caption together
  --runners-up N --attention DIR    the N most probable other words for each word; draw attention maps
  --min-confidence P --coverage C   withhold captions less confident than P, or the least confident of all but a share C
  --alt-text --notice [TEXT]        alternative texts of at most 125 characters; say first that a machine wrote them
  --json              one JSON object on each line, as docs/captions.md describes it; scores are log-probabilities
  --batch-size N --device NAME --dtype bfloat16 --trust PACKAGE    images at a time (32); cuda; of the decoder; code

{search}
example: captioning caption holiday/ cat.jpg 'pets/*.png' --num-best 3 --json
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command. All readable images are captioned; the status is 1 if any could not be read."""
    options = _options(arguments)
    paths, num_bad = find(options.images, "caption")
    if not paths:
        return 1
    captioner = load(options.model, options.device, options.trust).decode_in(options.dtype).pack()
    search = chosen_search(captioner, options)
    most = asked_for(search, options)
    withhold, alternative_text = _withholding(captioner, options), _alternative_text(options)
    if captioner.confidences is not None and not _as_calibrated(captioner, search, options.dtype):
        _say("the confidences were calibrated for the model's own search in float32, and may be wrong for this one")
    counts = Counter[str]()
    for read, images, bad in batches(captioner, paths, options.batch_size, "caption"):
        num_bad += bad
        if images is None:
            continue
        captions = withhold(captioner.decode(images, search=search, runners_up=options.runners_up))
        for path, caption in zip(read, captions, strict=True):
            alt = None if caption.withheld else alternative_text(caption)
            counts.update(_noteworthy(caption, alt, most))
            if caption.out_of_domain:
                _say(
                    f"{printable(str(path))} is unlike the training images, so its caption and confidence cannot be "
                    f"trusted (distance {caption.distance:.2f}, expected at most 1)"
                )
            if options.json:
                print(json_line(_as_json(path, caption, alt, most)), flush=True)
            else:
                _print(printable(str(path)), caption, alt, most)
        if options.attention is not None:  # printed captions are not lost if a map cannot be written
            given = [row for row, caption in enumerate(captions) if caption.withheld is None]
            if given:
                texts = [captions[row].text for row in given]
                _draw(captioner, [read[row] for row in given], images[given], texts, options.attention)
    for noteworthy, what in (
        ("truncated", f"captions were truncated at {search.max_length} tokens"),
        ("fewer", f"images have fewer than {most} different captions"),
        ("shortened", "alternative texts were shortened"),
        ("withheld", "captions were withheld"),
    ):
        if counts[noteworthy]:
            _say(f"{counts[noteworthy]} of {counts['read']} {what}")
    return int(num_bad > 0)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = searching_parser("caption", "IMAGE... [--model WHERE] [options]", HELP, thing="image")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--runners-up", type=natural, default=0)
    parser.add_argument("--dtype", default="float32")
    add_batches(parser, "images")
    parser.add_argument("--attention", type=Path)
    trusted = parser.add_mutually_exclusive_group()
    trusted.add_argument("--min-confidence", type=float)
    trusted.add_argument("--coverage", type=float)
    parser.add_argument("--alt-text", action="store_true")
    parser.add_argument("--notice", nargs="?", const=DEFAULT)
    parser.add_argument("--json", action="store_true")
    add_trust(parser)
    options = parsed(parser, arguments, positional="images", default=shipped.DEFAULT)
    if options.notice is not None and not options.alt_text:
        parser.error("--notice belongs to --alt-text; add that")
    if options.notice and Path(options.notice).exists():
        parser.error(f"--notice takes '{shown(options.notice)}' as its text; give images before --notice")
    return options


def _say(message: str) -> None:
    print(f"captioning caption: {message}", file=sys.stderr)


def _noteworthy(caption: Caption, alt: AltText | None, most: int) -> Iterator[str]:
    """Yield by what names a caption is counted."""
    yield "read"
    if not caption.finished:
        yield "truncated"
    if len(caption.alternatives) + 1 < most:
        yield "fewer"
    if alt is not None and alt.shortened:
        yield "shortened"
    if caption.withheld is not None:
        yield "withheld"


def _alternative_text(options: argparse.Namespace) -> Callable[[Caption], AltText | None]:
    """Return what makes an alternative text of a caption, if the user wants one.

    Raises:
        InputError: the notice is too long.
    """
    from captioning.model.alt_text import NOTICE, alt_text

    if not options.alt_text:
        return lambda _: None
    notice = NOTICE if options.notice == DEFAULT else options.notice
    alt_text("", notice=notice)  # what is wrong is found before any work
    return lambda caption: alt_text(caption.text, notice=notice)


def _as_calibrated(captioner: Captioner, search: Search, dtype: str) -> bool:
    """Return whether captions are found as when the model was calibrated, in whatever number."""
    from captioning.model.signals import searching_all

    return dtype == "float32" and searching_all(search) == searching_all(captioner.search)


def _withholding(captioner: Captioner, options: argparse.Namespace) -> Callable[[Sequence[Caption]], Sequence[Caption]]:
    """Return what withholds the captions that the user does not want to be given.

    Raises:
        InputError: the model is not calibrated, or an option is no share.
    """
    if options.min_confidence is None and options.coverage is None:
        return lambda captions: captions
    withhold = partial(captioner.withhold, min_confidence=options.min_confidence, coverage=options.coverage)
    withhold([])  # what is wrong is found before any work
    return withhold


def _as_json(path: Path | str, caption: Caption, alt: AltText | None, most: int) -> dict[str, Any]:
    """Return an image's line; of a withheld caption, only why."""
    plain = as_json(caption, most)
    if caption.withheld is not None:
        given = ("confidence", "distance", "out_of_domain", "withheld")
        return {"image": str(path), "caption": None, **{name: plain[name] for name in given}}
    others = {} if alt is None else {"alt_text": alt.text, "shortened": alt.shortened}
    return {"image": str(path), "caption": caption.text, **others, **plain}


def _print(path: str, caption: Caption, alt: AltText | None, most: int) -> None:
    """Print an image's captions, each with its words if they have runners-up; or its alternative text."""
    if caption.withheld is not None:
        print(f"{path}: (withheld: {caption.withheld})", flush=True)
        return
    if alt is not None:
        print(f"{path}: {one_line(alt.text)}", flush=True)
        return
    for own in (caption, *caption.alternatives)[:most]:
        notes = [f"{own.score:.2f}"] if most > 1 else []
        notes += [] if own.confidence is None else [f"confidence {own.confidence:.2f}"]
        suffix = f" ({', '.join(notes)})" if notes else ""
        print(f"{path}: {one_line(own.text)}{suffix}", flush=True)
        print_words(own)


def _draw(
    captioner: Captioner, paths: Sequence[Path | str], images: Tensor, captions: Sequence[str], folder: Path
) -> None:
    """Write each image's attention map as FOLDER/NAME.png; a number is added if the name exists."""
    from captioning.model.attention_maps import attention_maps, draw_attention_map, save_figure

    for path, attention_map in zip(paths, attention_maps(captioner, images, captions), strict=True):
        save_figure(draw_attention_map(attention_map), new_png(folder, path), dpi=80)

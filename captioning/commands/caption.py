"""captioning caption: caption images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural
from captioning.commands._bundles import add_batches, add_trust, json_line, load, one_line, printable
from captioning.commands._images import batches, find, new_png
from captioning.commands._search import as_json, asked_for, chosen_search, parsed, print_words, searching_parser

if TYPE_CHECKING:
    from torch import Tensor

    from captioning.model.captioner import Captioner

HELP = """\
Caption images. One that cannot be read is reported and skipped; the exit status is then 1.

  IMAGE...            files, folders and globs; - is an image on standard input
  --model WHERE       a bundle, a run's folder or its checkpoint; given several times, models caption together
  --runners-up N      also the N most probable other words in the place of each word
  --attention DIR     draw an attention map of each image, for models with attention
  --json              {"image", "caption", "score", "finished", "words", "alternatives"} on each line; scores are
                      log-probabilities
  --batch-size N --device NAME --dtype bfloat16 --trust PACKAGE    images at a time (32); cuda; of the decoder; code

{search}
example: captioning caption holiday/ cat.jpg 'pets/*.png' --model runs/best --num-best 3 --json
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command. All readable images are captioned; the status is 1 if any could not be read."""
    parser = searching_parser("caption", "IMAGE... --model WHERE [options]", HELP, thing="image")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--runners-up", type=natural, default=0)
    parser.add_argument("--dtype", default="float32")
    add_batches(parser, "images")
    parser.add_argument("--attention", type=Path)
    parser.add_argument("--json", action="store_true")
    add_trust(parser)
    options = parsed(parser, arguments, positional="images")

    paths, num_bad = find(options.images, "caption")
    if not paths:
        return 1
    captioner = load(options.model, options.device, options.trust).decode_in(options.dtype).pack()
    search = chosen_search(captioner, options)
    most = asked_for(search, options)
    num_read, num_truncated, num_fewer = 0, 0, 0
    for read, images, bad in batches(captioner, paths, options.batch_size, "caption"):
        num_bad += bad
        if images is None:
            continue
        captions = captioner.decode(images, search=search, runners_up=options.runners_up)
        num_read += len(captions)
        num_truncated += sum(not caption.finished for caption in captions)
        num_fewer += sum(len(caption.alternatives) + 1 < most for caption in captions)
        for path, caption in zip(read, captions, strict=True):
            if options.json:
                line = {"image": str(path), "caption": caption.text, **as_json(caption, most)}
                print(json_line(line), flush=True)
                continue
            for own in (caption, *caption.alternatives)[:most]:
                score = f" ({own.score:.2f})" if most > 1 else ""
                print(f"{printable(str(path))}: {one_line(own.text)}{score}", flush=True)
                print_words(own)
        if options.attention is not None:  # printed captions are not lost if a map cannot be written
            _draw(captioner, read, images, [caption.text for caption in captions], options.attention)
    if num_truncated:
        print(
            f"captioning caption: {num_truncated} of {num_read} captions were truncated at {search.max_length} tokens",
            file=sys.stderr,
        )
    if num_fewer:
        print(
            f"captioning caption: {num_fewer} of {num_read} images have fewer than {most} different captions",
            file=sys.stderr,
        )
    return int(num_bad > 0)


def _draw(
    captioner: Captioner, paths: Sequence[Path | str], images: Tensor, captions: Sequence[str], folder: Path
) -> None:
    """Write each image's attention map as FOLDER/NAME.png; a number is added if the name exists."""
    from captioning.model.attention_maps import attention_maps, draw_attention_map, save_figure

    for path, attention_map in zip(paths, attention_maps(captioner, images, captions), strict=True):
        save_figure(draw_attention_map(attention_map), new_png(folder, path), dpi=80)

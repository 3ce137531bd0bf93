"""captioning caption: caption images with a bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural, positive
from captioning.commands._bundles import (
    add_batches,
    add_trust,
    json_line,
    load,
    one_line,
    printable,
    sampling,
    with_beams,
)
from captioning.commands._images import batches, find, new_png

if TYPE_CHECKING:
    from torch import Tensor

    from captioning.model.captioner import Captioner


def main(arguments: Sequence[str]) -> int:
    """Run the command. All readable images are captioned; the status is 1 if any could not be read."""
    parser = argparse.ArgumentParser(
        prog="captioning caption",
        description="Caption images. One that cannot be read is reported and skipped; the exit status is then 1.",
        epilog="example: captioning caption runs/best/bundle holiday/ cat.jpg 'pets/*.png' --beam-size 5 --json",
    )
    parser.add_argument("bundle", help="the model's folder")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders and globs")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--beam-size", type=positive, metavar="K", help="beams; 1 is greedy search (default: the bundle's)"
    )
    how.add_argument("--temperature", type=float, metavar="T", help="sample words; below 1 favours probable ones")
    parser.add_argument("--seed", type=natural, help="seed of --temperature's samples (default 1)")
    parser.add_argument("--dtype", default="float32", help="of the decoder: float32 (default) or bfloat16")
    add_batches(parser, "images")
    parser.add_argument(
        "--attention", type=Path, metavar="DIR", help="draw an attention map of each image, for models with attention"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print {"image", "caption", "score", "finished"} on each line; score is the log-probability',
    )
    add_trust(parser)
    options = parser.parse_args(arguments)
    if options.seed is not None and options.temperature is None:
        parser.error("--seed has no effect without --temperature")

    paths, num_bad = find(options.images, "caption")
    if not paths:
        return 1
    captioner = load(options.bundle, options.device, options.trust).decode_in(options.dtype)
    search = with_beams(captioner.search, options.beam_size)
    if options.temperature is not None:
        seed = 1 if options.seed is None else options.seed
        search = sampling(captioner.search, temperature=options.temperature, seed=seed)
    num_read, num_truncated = 0, 0
    for read, images, bad in batches(captioner, paths, options.batch_size, "caption"):
        num_bad += bad
        if images is None:
            continue
        captions = captioner.decode(images, search=search)
        num_read += len(captions)
        num_truncated += sum(not caption.finished for caption in captions)
        for path, caption in zip(read, captions, strict=True):
            if options.json:
                line = {"image": str(path), "caption": caption.text, "score": caption.score}
                print(json_line(line | {"finished": caption.finished}), flush=True)
            else:
                print(f"{printable(str(path))}: {one_line(caption.text)}", flush=True)
        if options.attention is not None:  # printed captions are not lost if a map cannot be written
            _draw(captioner, read, images, [caption.text for caption in captions], options.attention)
    if num_truncated:
        print(
            f"captioning caption: {num_truncated} of {num_read} captions were truncated at {search.max_length} tokens",
            file=sys.stderr,
        )
    return int(num_bad > 0)


def _draw(captioner: Captioner, paths: Sequence[Path], images: Tensor, captions: Sequence[str], folder: Path) -> None:
    """Write each image's attention map as FOLDER/NAME.png; a number is added if the name exists."""
    from captioning.model.attention_maps import attention_maps, draw_attention_map, save_figure

    for path, attention_map in zip(paths, attention_maps(captioner, images, captions), strict=True):
        save_figure(draw_attention_map(attention_map), new_png(folder, path), dpi=80)

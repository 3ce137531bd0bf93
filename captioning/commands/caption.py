"""captioning caption: caption images with a bundle."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural, positive
from captioning.commands._bundles import add_batches, load, one_line, sampling
from captioning.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from captioning.model.captioner import Captioner


def main(arguments: Sequence[str]) -> int:
    """Run the command; the status is 1 if any image could not be read, after all others were captioned."""
    parser = argparse.ArgumentParser(
        prog="captioning caption",
        description="Caption images with a trained model. An image that cannot be read is reported and skipped, and "
        "the exit status is then 1.",
        epilog="example: captioning caption runs/best/bundle holiday/ cat.jpg 'pets/*.png' --beam-size 5 --json",
    )
    parser.add_argument("bundle", help="the model's folder")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders and globs")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--beam-size", type=positive, help="beams; 1 is greedy (default: as the bundle says)")
    how.add_argument("--temperature", type=float, metavar="T", help="draw words at random; below 1 the likelier ones")
    parser.add_argument("--seed", type=natural, help="with --temperature: another one draws other captions (default 1)")
    add_batches(parser, "pictures")
    parser.add_argument(
        "--attention", type=Path, metavar="DIR", help="draw, for each image, where each word was said from"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='one {"image", "caption", "score", "finished"} a line; score is the log-probability',
    )
    options = parser.parse_args(arguments)
    if options.seed is not None and options.temperature is None:
        parser.error("--seed: nothing is drawn without --temperature")

    from captioning.data.images import find_images

    paths, problems = find_images(options.images)
    for problem in problems:
        print(f"captioning caption: {problem}", file=sys.stderr)
    if not paths:
        return 1
    captioner = load(options.bundle, options.device, options.beam_size)
    if options.temperature is not None:
        seed = 1 if options.seed is None else options.seed
        captioner.search = sampling(captioner.search, temperature=options.temperature, seed=seed)
    num_bad, num_said, num_cut = len(problems), 0, 0
    for read, bad in _batches(paths, options.batch_size):
        num_bad += bad
        captions = captioner.caption([picture for _, picture in read], batch_size=options.batch_size)
        num_said += len(captions)
        num_cut += sum(not caption.finished for caption in captions)
        for (path, _), caption in zip(read, captions, strict=True):
            if options.json:
                line = {"image": str(path), "caption": caption.text, "score": caption.score}
                print(json.dumps(line | {"finished": caption.finished}, ensure_ascii=False), flush=True)
            else:
                print(f"{path}: {one_line(caption.text)}", flush=True)
        if options.attention is not None:  # captions that are printed are not lost if a map cannot be written
            _draw(captioner, read, [caption.text for caption in captions], options.attention)
    if num_cut:
        longest = captioner.search.max_length
        print(f"captioning caption: {num_cut} of {num_said} were cut at {longest} tokens", file=sys.stderr)
    return int(num_bad > 0)


def _draw(captioner: Captioner, read: Sequence[tuple[Path, Image]], captions: Sequence[str], folder: Path) -> None:
    """Write an image's map as FOLDER/NAME.png; a number is added where the name is taken."""
    from captioning.model.attention_maps import looks, save

    for (path, _), look in zip(read, looks(captioner, [picture for _, picture in read], captions), strict=True):
        target, number = folder / f"{path.stem}.png", 1
        while target.exists():
            number += 1
            target = folder / f"{path.stem}-{number}.png"
        save(look, target)


def _batches(paths: Sequence[Path], batch_size: int) -> Iterator[tuple[list[tuple[Path, Image]], int]]:
    """Images that could be read, `batch_size` files at a time, and how many could not."""
    from captioning.data.images import load_image

    for start in range(0, len(paths), batch_size):
        read, bad = [], 0
        for path in paths[start : start + batch_size]:
            try:
                read.append((path, load_image(path)))
            except InputError as error:
                print(f"captioning caption: {error}", file=sys.stderr)
                bad += 1
        yield read, bad

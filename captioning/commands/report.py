"""captioning report: compare runs in one table, as Markdown, CSV or HTML."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import natural, parse_arguments


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning report",
        description="Compare runs in one table: mean and standard deviation over seeds. A score that is significantly "
        "better than in every other row is bold. For word detectors and matchers, a second table has the differences "
        "between the best row and the others, with intervals and p-values.",
        epilog="example: captioning report sweeps/2026-11-25 runs/best --format html --output table.html",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs, of evaluations, or of sweeps"
    )
    parser.add_argument("--format", choices=("markdown", "csv", "html"), default="markdown", help="default: markdown")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table to this file (default: print it)")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the bootstrap (default: 0)")
    options = parse_arguments(parser, arguments)

    from captioning.files.atomic import write_text
    from captioning.reports.comparison import compare_runs

    text = getattr(compare_runs(options.runs, seed=options.seed), options.format)()
    if options.output:
        write_text(options.output, text)
    else:
        print(text, end="")
    return 0

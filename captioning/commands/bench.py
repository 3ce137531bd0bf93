"""captioning bench: measure speed beside the bare matrix products, or a recurrent cell's beside torch's LSTM."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import positive

if TYPE_CHECKING:
    from rich.table import Table

    from captioning.benchmarks import CellRow, Row

KINDS = ("train", "beam", "recurrent")


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning bench",
        description="Measure training steps and beam search, each beside the bare matrix products of the same shapes "
        "in the same run; or each recurrent cell, forward and backward, beside torch's fused LSTM. Judge the ratio; "
        "seconds belong to the machine.",
        epilog="example: captioning bench recurrent --threads 1 --json bench.json",
    )
    parser.add_argument(
        "what", nargs="*", default=["train", "beam"], help="train, beam, recurrent (default: the first two)"
    )
    parser.add_argument("--threads", type=positive, help="processor threads (default: torch's choice)")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 mixed precision")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows too")
    options = parser.parse_args(arguments)
    if unknown := set(options.what) - set(KINDS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")

    import torch

    from captioning.benchmarks import bench_beam, bench_recurrent, bench_training
    from captioning.reports import console

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    title, rows, cells = f"{torch.get_num_threads()} threads, torch {torch.__version__}", [], []
    if "train" in options.what:
        rows += bench_training(bf16=options.bf16)
    if "beam" in options.what:
        rows += bench_beam()
    if rows:
        console().print(_models(title, rows))
    if "recurrent" in options.what:
        cells = bench_recurrent()
        console().print(_cells(title, cells))
    if options.json:
        both: list[Row | CellRow] = [*rows, *cells]
        content = [{**vars(row), "ratio": row.ratio} for row in both]
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


def _models(title: str, rows: Sequence[Row]) -> Table:
    table = _table(title, "", "seconds", "products", "ratio", "where")
    for row in rows:
        where = ", ".join(f"{name} {seconds:.4f}" for name, seconds in row.where.items())
        table.add_row(row.name, f"{row.seconds:.4f}", f"{row.products_seconds:.4f}", f"{row.ratio:.2f}", where)
    return table


def _cells(title: str, rows: Sequence[CellRow]) -> Table:
    table = _table(title, "cell", "seconds", "lstm_seconds", "ratio")
    for row in rows:
        table.add_row(row.cell, f"{row.seconds:.4f}", f"{row.lstm_seconds:.4f}", f"{row.ratio:.2f}")
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in ("", "cell", "where") else "right")
    return table

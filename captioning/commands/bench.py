"""captioning bench: measure speed beside the bare matrix products."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import positive


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning bench",
        description="Measure training steps and beam search, each beside the bare matrix products of the same shapes "
        "in the same run. Judge the ratio; seconds belong to the machine.",
        epilog="example: captioning bench train beam --json bench.json",
    )
    parser.add_argument("what", nargs="*", default=["train", "beam"], help="train, beam (default: both)")
    parser.add_argument("--threads", type=positive, help="processor threads (default: torch's choice)")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 mixed precision")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows too")
    options = parser.parse_args(arguments)
    if unknown := set(options.what) - {"train", "beam"}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are train and beam")

    import torch
    from rich.console import Console
    from rich.table import Table

    from captioning.benchmarks import bench_beam, bench_training

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    if "train" in options.what:
        rows += bench_training(bf16=options.bf16)
    if "beam" in options.what:
        rows += bench_beam()
    table = Table(title=f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for column in ("", "seconds", "products", "ratio", "where"):
        table.add_column(column, justify="left" if column in ("", "where") else "right")
    for row in rows:
        where = ", ".join(f"{name} {seconds:.4f}" for name, seconds in row.where.items())
        table.add_row(row.name, f"{row.seconds:.4f}", f"{row.products_seconds:.4f}", f"{row.ratio:.2f}", where)
    Console().print(table)
    if options.json:
        content = [
            {
                "name": row.name,
                "seconds": row.seconds,
                "products_seconds": row.products_seconds,
                "ratio": row.ratio,
                "where": row.where,
            }
            for row in rows
        ]
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0

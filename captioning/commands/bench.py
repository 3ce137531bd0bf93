"""captioning bench: measure speed, and the agreement of metrics with people."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.commands import parse_arguments, positive
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from rich.table import Table

KINDS = ("train", "search", "recurrent", "encoder", "score", "humans", "coco", "record")
OF_COMMANDS = ("score", "humans", "coco", "record")
"""Those that run no product in this process."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning bench",
        description="Measure speed beside something else's: train and search beside their matrix products (and the "
        "Trainer beside a bare loop), recurrent and encoder beside torch, score beside pycocoevalcap. humans: how well "
        "metrics agree with people. coco: training at COCO's size. record: the time to a CIDEr of 0.5. Compare ratios; "
        "spread is their interquartile range.",
        epilog="example: captioning bench recurrent --threads 1 --json bench.json",
    )
    parser.add_argument(
        "what", nargs="*", default=["train", "search"], help=f"{', '.join(KINDS)} (default: train, search)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="score: a COCO captions JSON; humans, record: Flickr8k's folder; coco: where 4 GB of generated data are",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="for record: the encoder's (default: downloaded)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for record: keep the runs here")
    parser.add_argument("--threads", type=positive, help="of the CPU (default: torch's choice)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    options = parse_arguments(parser, arguments)
    if unknown := set(options.what) - set(KINDS):
        parser.error(f"no benchmark {shown(', '.join(sorted(unknown)))}; choose from {', '.join(KINDS)}")

    from captioning.files.atomic import write_json
    from captioning.reports.tables import console

    written = []
    for kind in KINDS:
        if kind in options.what:
            title = kind if kind in OF_COMMANDS else _prepare_torch(options.threads)
            rows = [vars(row) for row in measure(kind, options)]
            console().print(_table(title, rows))
            written += rows
    if options.json:
        write_json(options.json, written)
    return 0


def _prepare_torch(threads: int | None) -> str:
    """Set the number of threads and the seed, and return the title of the table."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}"


def measure(kind: str, options: argparse.Namespace) -> Sequence[Any]:
    """Run one benchmark and return its rows."""
    from captioning.benchmarks import scoring, search, speed, training
    from captioning.metrics.files import read_references

    match kind:
        case "train":
            return training.bench_training()
        case "search":
            return search.bench_search()
        case "recurrent":
            return speed.bench_recurrent()
        case "encoder":
            from captioning.benchmarks.encoders import bench_encoders  # imports timm

            return bench_encoders()
        case "score":
            data = options.data
            return scoring.bench_scoring(scoring.generated_captions() if data is None else read_references(data))
        case "coco":
            from captioning.benchmarks.rehearsal import rehearse  # imports Lightning

            return rehearse(options.data, options.threads)
        case "record":
            from captioning.benchmarks.record import bench_record

            root = _flickr8k(options.data, "record", "Flickr8k's folder")
            return bench_record(root, options.weights, options.threads, options.output)
        case _:
            from captioning.benchmarks.agreement import agreements

            files = "Flickr8k's folder with ExpertAnnotations.txt and CrowdFlowerAnnotations.txt"
            return agreements(_flickr8k(options.data, "humans", files))


def _flickr8k(root: Path | None, kind: str, what: str) -> Path:
    """Return the folder that `--data` names."""
    if root is None:
        raise InputError(f"bench {kind} needs --data, {what}")
    return root


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title=title)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    return table


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)

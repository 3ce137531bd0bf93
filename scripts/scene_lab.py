"""Run notebooks/designs.ipynb with several seeds, and print the table of its scene lab with deviations.

Usage: .venv/bin/python scripts/scene_lab.py --seeds 0 1 2
A seed is of the scenes, the initial weights and the batches. NUM_SCENES=300 is quicker, with fewer scenes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import nbclient
import nbformat

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "designs.ipynb"
PRINT = """
import json
print(json.dumps({name: {fact: [right[name, fact], notices[name, fact]] for fact in FACTS} for name in designs}))
"""

Shares = dict[str, dict[str, list[float]]]
"""For each design and each fact: how many changes it is right about, and how many it notices, as fractions."""


def measured(seed: int, seconds: int = 1800) -> Shares:
    """Run the notebook from a clean kernel with a seed; `seconds` is the limit of a cell."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PRINT))
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    client = nbclient.NotebookClient(notebook, timeout=seconds, resources=folder)
    client.execute(env={**os.environ, "SEED": str(seed)})
    shares: Shares = json.loads(notebook.cells[-1].outputs[0].text)
    return shares


def table(runs: Sequence[Shares]) -> str:
    """Write a Markdown table: means and standard deviations over runs, in percent."""
    facts = list(next(iter(runs[0].values())))
    rows = [["right (notices), %", *facts], ["---"] * (1 + len(facts))]
    for design in runs[0]:
        cells = []
        for fact in facts:
            right, notices = zip(*(run[design][fact] for run in runs), strict=True)
            cells.append(f"{_percent(right)} ({_percent(notices)})")
        rows.append([design, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * mean(shares):.0f} ± {100 * stdev(shares):.0f}"


def main() -> None:
    """Run the notebook with the seeds that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="two or more; default: 0 1 2")
    seeds = parser.parse_args().seeds
    if len(seeds) < 2:
        parser.error("--seeds: a deviation needs two seeds or more")
    print(table([measured(seed) for seed in seeds]))


if __name__ == "__main__":
    main()

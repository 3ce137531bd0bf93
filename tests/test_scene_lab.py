"""scripts/scene_lab.py runs a notebook with each seed, and writes means and deviations into one table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nbformat
import pytest

PATH = Path(__file__).parents[1] / "scripts" / "scene_lab.py"
spec = importlib.util.spec_from_file_location("scene_lab", PATH)
scene_lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scene_lab)

FACTS = ["colour", "relation", "count", "absence"]


def test_the_table_has_means_and_standard_deviations() -> None:
    runs = [{"m-RNN": {"colour": [0.9, 1.0], "count": [0.5, p]}} for p in (0.6, 0.7, 0.8)]
    assert scene_lab.table(runs).splitlines() == [
        "| right (notices), % | colour | count |",
        "| --- | --- | --- |",
        "| m-RNN | 90 ± 0 (100 ± 0) | 50 ± 0 (70 ± 10) |",
    ]


@pytest.mark.filterwarnings("ignore")
def test_each_run_has_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = """
import os
FACTS, designs = ["colour"], ["one"]
right, notices = {("one", "colour"): float(os.environ["SEED"]) / 10}, {("one", "colour"): 1.0}
"""
    own = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(own, tmp_path / "own.ipynb")
    monkeypatch.setattr(scene_lab, "NOTEBOOK", tmp_path / "own.ipynb")
    assert [scene_lab.measured(seed) for seed in (2, 4)] == [{"one": {"colour": [share, 1.0]}} for share in (0.2, 0.4)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_has_other_results_with_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_SCENES", "60")
    first, second = (scene_lab.measured(seed) for seed in (1, 2))
    assert first != second
    assert first["no image"] == second["no image"] == {fact: [0, 0] for fact in FACTS}
    assert all(list(own) == FACTS for own in first.values())

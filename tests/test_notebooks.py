"""Every notebook runs from a clean kernel, in bounded time, and is kept without outputs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LECTURE = next(path for path in NOTEBOOKS if path.stem == "recurrent_networks")
SECONDS = 900  # of a whole notebook, on a busy machine too
NUM_SCENES = {"captioning_tour": "60", "recurrent_networks": "900"}  # a tenth or a third of what readers see
RUNS = [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in NUM_SCENES), id=p.stem) for p in NOTEBOOKS]
kernels_warn = pytest.mark.filterwarnings("ignore")


def run(path: Path, *, seconds: float = SECONDS) -> list[str]:
    """Run a notebook and return what each cell printed; one cell gets no more time than the others have left."""
    notebook, end = nbformat.read(path, as_version=4), time.monotonic() + seconds
    client = nbclient.NotebookClient(
        notebook,
        timeout_func=lambda _cell: max(1, round(end - time.monotonic())),
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    outputs = (
        [output for output in cell.get("outputs", ()) if output.get("name") == "stdout"] for cell in notebook.cells
    )
    return ["".join(output["text"] for output in own) for own in outputs]


@pytest.mark.parametrize("path", RUNS)
@kernels_warn
def test_runs_from_a_clean_kernel(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTI30K", raising=False)
    monkeypatch.setenv("NUM_SCENES", NUM_SCENES.get(path.stem, ""))
    printed = run(path)
    assert any(printed)
    if path == LECTURE:
        assert next(filter(None, printed)).startswith("captions of generated scenes, as MULTI30K names no folder")


@pytest.mark.shared
@kernels_warn
def test_the_lecture_reads_real_sentences(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTI30K", str(shared / "data" / "multi30k"))
    assert next(filter(None, run(LECTURE))).startswith("sentences of Multi30k")


@kernels_warn
def test_a_notebook_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    """The time is of all cells together: none of these takes too long alone."""
    cells = [nbformat.v4.new_code_cell("import time; time.sleep(1.5)") for _ in range(9)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "slow.ipynb")
    with pytest.raises(nbclient.exceptions.CellTimeoutError):
        run(tmp_path / "slow.ipynb", seconds=2)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_formulas_have_single_backslashes(path: Path) -> None:
    r"""A formula's `\\` breaks a line, and what follows is no command any more."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    assert not any("\\\\" in "".join(cell["source"]) for cell in cells)

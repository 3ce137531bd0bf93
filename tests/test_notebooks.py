"""Every notebook runs from a clean kernel, in bounded time, and is kept without outputs.

Each section of the lecture has three exercises with solutions, and docs/lecture.md names sections that exist.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
LECTURE = ROOT / "notebooks" / "recurrent_networks.ipynb"
WITHOUT_EXERCISES = ("captioning_tour", "from_image_to_loss")
"""Tours of the package, which are no chapters of the lecture."""

CHAPTERS = [path for path in NOTEBOOKS if path.stem not in WITHOUT_EXERCISES]
SECONDS = 900  # of a whole notebook, on a busy machine too
NUM_SCENES = {"captioning_tour": "60", "recurrent_networks": "900", "designs": "300"}  # readers see more
SLOW = (*NUM_SCENES, "batching", "graves", "sentences", "translation", "solutions/graves", "solutions/sentences")
kernels_warn = pytest.mark.filterwarnings("ignore")

EXERCISES = "### Exercises"
NUMBERED = re.compile(r"([0-9]+)\. ")
ROW = re.compile(r"\| [^|]+ \| \[\w+\]\(\.\./notebooks/(\w+)\.ipynb\) \| ([^|]+) \|")
"""A row of docs/lecture.md: the slide, the notebook, and the title of its section."""


def name(path: Path) -> str:
    return path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()


RUNS = [pytest.param(p, marks=[pytest.mark.slow] * (name(p) in SLOW), id=name(p)) for p in (*NOTEBOOKS, *SOLUTIONS)]


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
    monkeypatch.setenv("NUM_SCENES", NUM_SCENES.get(name(path), ""))
    printed = run(path)
    assert any(printed) or path in SOLUTIONS
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


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=name)
def test_is_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=name)
def test_formulas_have_single_backslashes(path: Path) -> None:
    r"""A formula's `\\` breaks a line, and what follows is no command any more."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    assert not any("\\\\" in "".join(cell["source"]) for cell in cells)


def sections(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the lines of each section by its title; a line is the kind of its cell and its text."""
    found: dict[str, list[tuple[str, str]]] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("## "):
                found[line.removeprefix("## ")] = []
            elif found and line:
                found[list(found)[-1]].append((cell.cell_type, line))
    return found


def exercises(lines: list[tuple[str, str]]) -> list[str]:
    """List the numbers of the exercises that end a section; there are none if something else follows them."""
    starts = [at for at, (kind, line) in enumerate(lines) if kind == "markdown" and line == EXERCISES]
    rest = lines[starts[-1] + 1 :] if starts else []
    numbers = [NUMBERED.match(line) for _, line in rest]
    is_list = all(number or line.startswith("   ") for number, (_, line) in zip(numbers, rest, strict=True))
    return [number[1] for number in numbers if number] if is_list else []


def solved(lines: list[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    """Yield the number of each solution of a section, and whether its code asserts something."""
    starts = [(at, NUMBERED.match(line)) for at, (kind, line) in enumerate(lines) if kind == "markdown"]
    at_number = [(at, number[1]) for at, number in starts if number]
    ends = [*(at for at, _ in at_number[1:]), len(lines)]
    for (at, number), end in zip(at_number, ends, strict=True):
        code = (line.strip() for kind, line in lines[at:end] if kind == "code")
        yield number, any(line.startswith(("assert ", "torch.testing.assert", "np.testing.assert")) for line in code)


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_each_section_of_the_lecture_ends_with_three_exercises(path: Path) -> None:
    found = {title: exercises(lines) for title, lines in sections(path).items()}
    assert found
    assert {title: numbers for title, numbers in found.items() if numbers != ["1", "2", "3"]} == {}


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_each_exercise_has_a_solution_that_asserts_something(path: Path) -> None:
    """Titles may be shorter in the solutions; their numbers are the same."""
    solutions = {
        title.split(". ")[0]: list(solved(lines))
        for title, lines in sections(path.parent / "solutions" / path.name).items()
    }
    numbers = [title.split(". ")[0] for title in sections(path)]
    assert list(solutions) == numbers
    assert {n: own for n, own in solutions.items() if own != [("1", True), ("2", True), ("3", True)]} == {}


def test_each_file_of_solutions_has_its_notebook() -> None:
    assert [path.name for path in SOLUTIONS] == [path.name for path in CHAPTERS]


def test_every_section_that_the_table_of_slides_names_exists() -> None:
    lines = (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")][2:]  # without the head
    rows = [ROW.fullmatch(line) for line in table]
    assert rows and [line for line, row in zip(table, rows, strict=True) if row is None] == []
    titles = {path.stem: sections(path) for path in NOTEBOOKS}
    assert [row[0] for row in rows if row and row[2] not in titles.get(row[1], ())] == []
    assert {path.stem for path in CHAPTERS} <= {row[1] for row in rows if row}

"""Every kept file is written whole or not at all, also on a full disk, and the error names it."""

from __future__ import annotations

import ast
import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import captioning
from captioning.commands import main
from captioning.data.features.manifest import Manifest
from captioning.data.scenes import write_scenes
from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.metrics.detections_file import Detections
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.ranking import summarize
from captioning.metrics.ranks_file import Ranks
from captioning.metrics.statistics_file import save_statistics
from captioning.metrics.word_counts import WordCounts
from captioning.model.attention_maps import save_figure
from captioning.reports.explain_page import write_explanation
from captioning.reports.result import Result
from captioning.reports.runs import Run
from captioning.reports.sweeps import write_runs
from captioning.reports.tables import write_table
from captioning.reranking import NBest, write_nbest
from captioning.text.word_vectors import WordVectors

IMAGES = range(40)
SCORER = CocoScorer({n: [f"a dog number {n}"] for n in IMAGES}, metrics=["BLEU"])
SCORES = SCORER.score({n: f"the dog number {n}" for n in IMAGES})
RESULT = Result(SCORES, {n: f"the dog number {n}" for n in IMAGES}, {"data": "a", "split": "b", **SCORER.signature()})
WORDS = WordVectors([f"word{n}" for n in range(100)], np.random.default_rng(0).random((100, 3), dtype=np.float32))

COUNTS = WordCounts(tuple(f"word{n}" for n in range(9)), np.ones((40, 9), np.int8))
DETECTIONS = Detections.of(IMAGES, COUNTS, np.random.default_rng(0).random((40, 9)))
RANKS = Ranks(IMAGES, "digest", {"text_to_image": summarize(np.arange(1, 41), np.arange(40))})

WRITERS: dict[str, Callable[[Path], object]] = {
    "metrics.json": RESULT.write_json,
    "per_image.csv": RESULT.write_per_image,
    "statistics.safetensors": lambda path: save_statistics(path, SCORES, "digest"),
    "detections.safetensors": DETECTIONS.save,
    "ranks.safetensors": RANKS.save,
    "sweep.csv": lambda path: write_runs(path, [Run(str(n), {"seed": str(n)}, {"CIDEr": 0.5}) for n in range(90)]),
    "table.csv": lambda path: write_table(path, ["a"], [["x" * 1000]]),
    "page.html": lambda path: write_explanation(path, "a", None, []),
    "map.png": lambda path: save_figure(Figure(), path),
    "frequencies.json": DocumentFrequencies(3, {f"word{n}": 2 for n in range(90)}).save,
    "nbest.json": lambda path: write_nbest(path, NBest((1,), (("a",) * 90,), ("x",), np.ones((90, 1)))),
    "vectors.npz": WORDS.write,
    "vectors.vec": WORDS.write,
    "vectors.vec.gz": WORDS.write,
    "manifest.json": lambda path: Manifest({}, list(range(900)), {}, 0, {}).write(path.parent),
}


@contextmanager
def full_disk(room: int = 500) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_earlier_file_or_none_and_is_named(name: str, tmp_path: Path) -> None:
    path, write = tmp_path / name, WRITERS[name]
    for earlier in (None, "earlier"):
        if earlier is not None:
            path.write_text(earlier)
        with (
            full_disk(),
            pytest.raises(InputError, match=f"{name}(: the figure could not| cannot) be written: File too"),
        ):
            write(path)
        assert [file.name for file in tmp_path.iterdir()] == ([] if earlier is None else [name])
        assert earlier is None or path.read_text() == earlier
    write(path)
    assert path.stat().st_size > 500


def test_scenes_on_a_full_disk_leave_nothing(tmp_path: Path) -> None:
    with (
        full_disk(),
        pytest.raises(InputError, match=r"scenes cannot be written: .*; free some space or give a folder"),
    ):
        write_scenes(tmp_path / "scenes", num_train=1, num_val=1, num_test=1, size=32, workers=1)
    assert not list(tmp_path.iterdir())


def test_score_on_a_full_disk_leaves_no_empty_file_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "references.json").write_text(json.dumps({str(n): [f"a dog {n}"] for n in IMAGES}))
    (tmp_path / "results.json").write_text(json.dumps({str(n): f"a dog {n}" for n in IMAGES}))
    given = [str(tmp_path / name) for name in ("references.json", "results.json")]
    for option in ("--json", "--per-image"):
        with full_disk():
            assert main(["score", *given, "--metrics", "bleu", option, str(tmp_path / "scores")]) == 1
        assert f"captioning score: {tmp_path / 'scores'} cannot be written: File too large" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["references.json", "results.json"]


def test_bench_and_report_replace_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SimpleNamespace(name="x" * 1000, ratio=1.0)]
    monkeypatch.setattr("captioning.commands.bench.measure", lambda kind, options: rows)
    with full_disk():
        assert main(["bench", "score", "--json", str(tmp_path / "bench.json")]) == 1
    assert main(["bench", "score", "--json", str(tmp_path / "bench.json")]) == 0
    table = SimpleNamespace(markdown=lambda: "x" * 1000)
    monkeypatch.setattr("captioning.reports.comparison.compare_runs", lambda runs, seed: table)
    with full_disk():
        assert main(["report", str(tmp_path), "--output", str(tmp_path / "table.md")]) == 1
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "table.md")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "table.md"]


# Where files are written that are not kept, or where a whole folder appears at once.
FREE = {"files/atomic.py", "metrics/spice.py", "model/bundle.py", "model/golden.py", "data/scenes/write.py"}


def direct_writes(tree: ast.AST) -> Iterator[str]:
    """Calls that write a file which `captioning.files.atomic` does not replace at once: it calls the new file `new`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        is_open = name == "open" and any(
            isinstance(a, ast.Constant) and isinstance(a.value, str) and set(a.value) & set("wax") and len(a.value) < 4
            for a in [*node.args, *(keyword.value for keyword in node.keywords)]
        )
        of_a_path = isinstance(node.func, ast.Attribute) and name in ("write_text", "write_bytes", "savefig", "touch")
        if is_open or of_a_path or name in ("save_file", "savez"):
            text = ast.unparse(node)
            if "new" not in text and "content, words" not in text:  # np.savez(content, ...) fills a buffer
                yield text


def test_no_module_writes_a_kept_file_directly() -> None:
    root = Path(captioning.__file__).parent
    found: dict[str, list[Any]] = {}
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if name not in FREE and (calls := list(direct_writes(ast.parse(path.read_text(encoding="utf-8"))))):
            found[name] = calls
    assert not found


def test_direct_writes_are_found() -> None:
    for call in ("p.write_text('a')", "open(p, 'w')", "p.open('wb')", "figure.savefig(p)", "save_file(a, p)"):
        assert list(direct_writes(ast.parse(call))) == [call]

"""One table over runs, the best marked where it is really better."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.metrics.statistics_file import save_statistics
from captioning.report import report

IMAGES = range(60)
REFERENCES = {n: [f"a {chr(97 + n % 26)} dog runs {n}", f"the dog {n} runs"] for n in IMAGES}


def make_run(folder: Path, decoder: str, seed: int, wrong_every: int) -> None:
    """A run whose model takes every so many captions from another image."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"decoder={decoder}", f"seed={seed}"]))
    captions = {n: REFERENCES[n if (n + seed) % wrong_every else (n + 7) % 60][0] for n in IMAGES}
    scores = CocoScorer(REFERENCES, metrics=["ROUGE-L", "CIDEr"]).score(captions)
    content = {"metrics": scores.corpus, "language_model": {"perplexity": 9.0}}
    (folder / "metrics.json").write_text(json.dumps(content))
    save_statistics(folder / "statistics.safetensors", scores)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in (1, 2):
        make_run(tmp_path / f"sweep/{seed}", "good", seed, 10)
        make_run(tmp_path / f"sweep/{seed + 2}", "bad", seed, 2)
    return tmp_path / "sweep"


def test_a_sweep_and_runs_by_themselves_are_one_table_and_the_better_is_marked(sweep: Path) -> None:
    for folders in ([sweep], [sweep / str(n) for n in (1, 2, 3, 4)]):
        found = report(folders)
        assert (found.settings, found.names) == (["decoder"], ["ROUGE-L", "CIDEr", "perplexity"])
        assert [(row.setting, row.count, row.best) for row in found.rows] == [
            (("good",), "2", {"ROUGE-L", "CIDEr"}),
            (("bad",), "2", frozenset()),
        ]


def test_what_differs_little_is_not_marked(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "one", 1, 10)
    make_run(tmp_path / "b", "other", 2, 10)
    assert [row.best for row in report([tmp_path / "a", tmp_path / "b"]).rows] == [frozenset()] * 2


def test_runs_without_statistics_have_no_mark(sweep: Path) -> None:
    (sweep / "2" / "statistics.safetensors").unlink()
    assert [row.best for row in report([sweep]).rows] == [frozenset()] * 2


def test_markdown_has_means_deviations_and_bold(sweep: Path) -> None:
    lines = report([sweep]).markdown().splitlines()
    assert lines[:2] == ["| decoder | runs | ROUGE-L | CIDEr | perplexity |", "| --- | --- | ---: | ---: | ---: |"]
    assert lines[2].startswith("| good | 2 | **0.9")
    assert lines[2].endswith("± 0.00 |") or lines[2].endswith("± 0.000 |")
    assert "**" not in lines[3]


def test_csv_has_numbers(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(report([sweep]).csv())))
    assert [row["decoder"] for row in rows] == ["good", "bad"]
    assert float(rows[0]["CIDEr mean"]) > float(rows[1]["CIDEr mean"]) > 0
    assert [row["CIDEr best"] for row in rows] == ["1", "0"]


def test_html_shows_text_as_text(sweep: Path) -> None:
    (sweep / "1" / ".hydra" / "overrides.yaml").write_text("['decoder=<b>', 'seed=1']")
    page = report([sweep]).html()
    assert "&lt;b&gt;" in page
    assert page.count("<tr>") == 4


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the folder of a run"):
        report([tmp_path])

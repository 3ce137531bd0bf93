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
from captioning.reports.comparison import report

IMAGES = range(60)
REFERENCES = {n: [f"a {chr(97 + n % 26)} dog runs {n}", f"the dog {n} runs"] for n in IMAGES}


def make_run(
    folder: Path, decoder: str, seed: int, wrong_every: int, references: dict[int, list[str]] | None = None
) -> None:
    """A run whose model takes every so many captions from another image."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(
        yaml.safe_dump([f"decoder={decoder}", f"seed={seed}", f"output={folder}"])
    )
    captions = {n: REFERENCES[n if (n + seed) % wrong_every else (n + 7) % 60][0] for n in IMAGES}
    scorer = CocoScorer(references or REFERENCES, metrics=["ROUGE-L", "CIDEr"])
    scores = scorer.score(captions)
    content = {"metrics": scores.corpus, "language_model": {"perplexity": 9.0}}
    (folder / "metrics.json").write_text(json.dumps(content))
    save_statistics(folder / "statistics.safetensors", scores, scorer.signature()["references"])


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


@pytest.mark.parametrize(("wrong_every", "best"), [(20, frozenset()), (15, {"ROUGE-L", "CIDEr"})])
def test_the_test_is_two_sided(tmp_path: Path, wrong_every: int, best: set[str]) -> None:
    """A resample of 60 images holds none of 3 with probability (57/60)^60 = 0.046, none of 4 with 0.016."""
    make_run(tmp_path / "a", "right", 1, 99)
    make_run(tmp_path / "b", "sometimes_wrong", 1, wrong_every)
    assert [row.best for row in report([tmp_path / "a", tmp_path / "b"], seed=3).rows] == [best, frozenset()]


def test_runs_without_statistics_or_of_other_references_have_no_mark_and_it_is_said(
    sweep: Path, tmp_path: Path
) -> None:
    other = {n: group[::-1] for n, group in REFERENCES.items()}
    make_run(tmp_path / "other", "best", 1, 99, other)
    found = report([sweep, tmp_path / "other"])
    assert [row.best for row in found.rows] == [frozenset()] * 3
    assert "the runs are of different images or references" in found.note
    (sweep / "2" / "statistics.safetensors").unlink()
    found = report([sweep])
    assert [row.best for row in found.rows] == [frozenset()] * 2
    assert f"{sweep / '2'} without statistics.safetensors" in found.note


def test_a_failed_setting_and_a_run_named_twice_change_nothing_else(sweep: Path) -> None:
    rows = report([sweep]).rows
    (sweep / "9" / ".hydra").mkdir(parents=True)
    (sweep / "9" / ".hydra" / "overrides.yaml").write_text("[decoder=failed, seed=1]")
    found = report([sweep, sweep / "1", sweep / ".." / "sweep"])
    assert list(found.rows[:2]) == list(rows)
    assert found.rows[2].count == "0 of 1"
    assert "| failed | 0 of 1 | failed |" in found.markdown()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "{", "broken JSON"),
        ("metrics.json", "{}", "expected the figures of an evaluation under 'metrics'"),
        (".hydra/overrides.yaml", "a: 1", "expected a list of overrides, found a dict"),
        (".hydra/overrides.yaml", "[", "no list of overrides"),
    ],
)
def test_a_damaged_run_is_named(sweep: Path, name: str, content: str, message: str) -> None:
    (sweep / "1" / name).write_text(content)
    with pytest.raises(InputError, match=message):
        report([sweep])


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

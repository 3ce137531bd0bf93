"""Runs are compared in one table, and significantly best scores are marked."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import CocoScorer, Metric, Scores
from captioning.metrics.statistics_file import save_statistics
from captioning.reports import comparison as comparison_module
from captioning.reports.comparison import Comparison, compare_runs

IMAGES = range(60)
REFERENCES = {n: [f"a {chr(97 + n % 26)} dog runs {n}", f"the dog {n} runs"] for n in IMAGES}


def make_run(
    folder: Path, decoder: str, seed: int, wrong_every: int, references: dict[int, list[str]] | None = None
) -> None:
    """Write a run in which one caption of every `wrong_every` is that of another image."""
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


def rows(comparison: Comparison) -> list[tuple[tuple[str, ...], str]]:
    return [(setting.values, setting.count) for setting in comparison.settings]


def test_a_sweep_and_its_single_runs_give_the_same_table_with_the_best_marked(sweep: Path) -> None:
    for folders in ([sweep], [sweep / str(n) for n in (1, 2, 3, 4)]):
        found = compare_runs(folders)
        assert (found.setting_names, found.score_names) == (["decoder"], ["ROUGE-L", "CIDEr", "perplexity"])
        assert rows(found) == [(("good",), "2"), (("bad",), "2")]
        assert found.best == {"ROUGE-L": 0, "CIDEr": 0}


def test_an_insignificant_difference_is_not_marked(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "one", 1, 10)
    make_run(tmp_path / "b", "other", 2, 10)
    assert compare_runs([tmp_path / "a", tmp_path / "b"]).best == {}


@pytest.mark.parametrize(("wrong_every", "best"), [(20, {}), (15, {"ROUGE-L": 0, "CIDEr": 0})])
def test_the_test_is_two_sided(tmp_path: Path, wrong_every: int, best: dict[str, int]) -> None:
    """A resample of 60 images holds none of 3 with probability (57/60)^60 = 0.046, none of 4 with 0.016."""
    make_run(tmp_path / "a", "right", 1, 99)
    make_run(tmp_path / "b", "sometimes_wrong", 1, wrong_every)
    assert compare_runs([tmp_path / "a", tmp_path / "b"], seed=3).best == best


def test_runs_without_statistics_or_with_other_references_are_not_tested_and_the_note_says_so(
    sweep: Path, tmp_path: Path
) -> None:
    other = {n: group[::-1] for n, group in REFERENCES.items()}
    make_run(tmp_path / "other", "best", 1, 99, other)
    found = compare_runs([sweep, tmp_path / "other"])
    assert found.best == {}
    assert "the runs have different images or references" in found.note
    (sweep / "2" / "statistics.safetensors").unlink()
    found = compare_runs([sweep])
    assert found.best == {}
    assert f"{sweep / '2'} without statistics.safetensors" in found.note


def test_failed_runs_and_repeated_folders_do_not_change_other_rows(sweep: Path) -> None:
    before = compare_runs([sweep])
    (sweep / "9" / ".hydra").mkdir(parents=True)
    (sweep / "9" / ".hydra" / "overrides.yaml").write_text("[decoder=failed, seed=1]")
    found = compare_runs([sweep, sweep / "1", sweep / ".." / "sweep"])
    assert rows(found) == [*rows(before), (("failed",), "0 of 1")]
    assert found.best == before.best
    assert "| failed | 0 of 1 | failed |" in found.markdown()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "{", "broken JSON"),
        ("metrics.json", "{}", "missing required field `metrics`"),
        (".hydra/overrides.yaml", "a: 1", "Expected `array | null`, got `object`"),
        (".hydra/overrides.yaml", "[", "not a YAML text"),
    ],
)
def test_a_damaged_file_of_a_run_is_reported(sweep: Path, name: str, content: str, message: str) -> None:
    (sweep / "1" / name).write_text(content)
    with pytest.raises(InputError, match=message):
        compare_runs([sweep])


def test_markdown_has_means_deviations_and_bold(sweep: Path) -> None:
    lines = compare_runs([sweep]).markdown().splitlines()
    assert lines[:2] == ["| decoder | runs | ROUGE-L | CIDEr | perplexity |", "| --- | --- | ---: | ---: | ---: |"]
    assert lines[2].startswith("| good | 2 | **0.9")
    assert lines[2].endswith("± 0.00 |") or lines[2].endswith("± 0.000 |")
    assert "**" not in lines[3]


def test_csv_has_means_and_marks(sweep: Path) -> None:
    good, bad = csv.DictReader(io.StringIO(compare_runs([sweep]).csv()))
    assert (good["decoder"], bad["decoder"]) == ("good", "bad")
    assert float(good["CIDEr mean"]) > float(bad["CIDEr mean"]) > 0
    assert (good["CIDEr best"], bad["CIDEr best"]) == ("1", "0")


def test_html_is_escaped(sweep: Path) -> None:
    (sweep / "1" / ".hydra" / "overrides.yaml").write_text("['decoder=<b>', 'seed=1']")
    page = compare_runs([sweep]).html()
    assert "&lt;b&gt;" in page
    assert page.count("<tr>") == 4


def test_a_folder_without_runs_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the folder of a run"):
        compare_runs([tmp_path])


class Errors(Metric):
    """A metric whose lowest score is best: the mean of its only statistic."""

    names = ("errors",)
    mode = "min"

    @classmethod
    def of(cls, resources: object) -> Errors:
        raise NotImplementedError

    def statistics(self, candidates: object) -> NDArray[np.float64]:
        raise NotImplementedError

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return totals[..., :1] / totals[..., 1:]


def keep_errors(folder: Path, decoder: str, errors: NDArray[np.float64]) -> None:
    make_run(folder, decoder, 1, 10)
    scores = Scores({}, {n: {} for n in range(len(errors))}, {}, {"errors": np.stack([errors, errors**0], axis=1)})
    save_statistics(folder / "statistics.safetensors", scores, "same")


def test_the_lowest_score_is_best_if_the_metric_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_module, "METRICS", {"errors": Errors})
    monkeypatch.setattr("captioning.metrics.statistics_file.METRICS", {"errors": Errors})
    keep_errors(tmp_path / "a", "many", np.full(60, 2.0))
    keep_errors(tmp_path / "b", "few", np.full(60, 1.0))
    assert compare_runs([tmp_path / "a", tmp_path / "b"]).best == {"errors": 1}


def test_a_gain_that_is_rounding_is_not_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_module, "METRICS", {"errors": Errors})
    monkeypatch.setattr("captioning.metrics.statistics_file.METRICS", {"errors": Errors})
    keep_errors(tmp_path / "a", "one", np.full(60, 0.3))
    keep_errors(tmp_path / "b", "other", np.full(60, 0.1 + 0.2))
    assert compare_runs([tmp_path / "a", tmp_path / "b"]).best == {}


def test_runs_of_one_image_are_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioning.metrics.statistics_file.METRICS", {"errors": Errors})
    keep_errors(tmp_path / "a", "one", np.full(1, 0.3))
    keep_errors(tmp_path / "b", "other", np.full(1, 0.5))
    found = compare_runs([tmp_path / "a", tmp_path / "b"])
    assert (found.best, "there is one image" in found.note) == ({}, True)


def test_settings_are_printed_without_control_characters_and_shortened(sweep: Path) -> None:
    settings = ["decoder=a\x1b[31m\nb" + "x" * 1000, "seed=1"]
    (sweep / "1" / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(settings))
    row = compare_runs([sweep]).markdown().splitlines()[2]
    assert "a\\x1b[31m\\nbxx" in row
    assert len(row) < 300

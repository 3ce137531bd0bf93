"""The table of metrics: every entry can be used, by every name that a user may type."""

from __future__ import annotations

import subprocess
import sys

import pytest

from captioning.errors import InputError
from captioning.metrics import BACKENDS, COCO_METRICS, METRICS, Metric
from captioning.metrics.table import ALIASES, check_metrics, command_names, metric_named, modes


@pytest.mark.parametrize("name", METRICS)
def test_every_entry_is_a_metric_that_states_its_scores_and_their_direction(name: str) -> None:
    metric = METRICS[name]
    assert issubclass(metric, Metric)
    assert metric.names
    assert metric.mode in ("max", "min")


def test_no_two_metrics_report_a_score_of_the_same_name() -> None:
    scores = [score for metric in METRICS.values() for score in metric.names]
    assert len(scores) == len(set(scores))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_named_in_upper_and_lower_case(name: str) -> None:
    assert metric_named(name) == metric_named(name.upper()) == metric_named(f" {name.lower()} ") == name
    assert name.lower() in command_names()


def test_aliases_are_names_of_metrics() -> None:
    assert {metric_named(alias) for alias in ALIASES} <= METRICS.keys()
    assert metric_named("rouge") == metric_named("Rouge-L") == "ROUGE-L"


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match="there is no metric 'wer'; choose among bleu, meteor,"):
        metric_named("wer")


def test_the_default_metrics_are_computed_by_every_backend() -> None:
    for backend in BACKENDS:
        check_metrics(COCO_METRICS, backend)


def test_modes_are_by_score() -> None:
    assert modes(["BLEU", "CIDEr"]) == {**{f"BLEU-{n}": "max" for n in (1, 2, 3, 4)}, "CIDEr": "max"}


def test_resources_that_a_metric_needs_are_checked_before_any_work() -> None:
    check_metrics(["CIDEr", "CLIPScore"], given=["images", "embedding"])
    with pytest.raises(InputError, match="CLIPScore needs the images;"):
        check_metrics(["CIDEr", "CLIPScore"], given=["embedding"])


def test_reading_the_table_imports_no_metric() -> None:
    program = "import sys; from captioning.metrics import METRICS; list(METRICS); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0

"""search=minimum_bayes_risk: in training, in a bundle, and in evaluation with document frequencies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioning import Captioner
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.search import MinimumBayesRisk, Sampling
from captioning.search.minimum_bayes_risk import _digest

Command = Callable[..., Any]
SAMPLES = ("search=minimum_bayes_risk", "search.search.num_samples=4", "search.max_length=6")


def test_a_run_s_bundle_has_the_search_with_the_words_of_its_vocabulary(train: Command, tmp_path: Path) -> None:
    ran = train(tmp_path / "run", *SAMPLES)
    assert ran.status == 0, ran.err
    captioner = Captioner.from_pretrained(tmp_path / "run" / "bundle")
    search = captioner.search
    assert isinstance(search, MinimumBayesRisk)
    assert search.words == tuple(captioner.tokenizer.vocabulary)
    assert search.search == Sampling(num_samples=4, max_length=6)


def test_a_bundle_is_evaluated_with_document_frequencies_of_a_file(
    command: Command, bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    DocumentFrequencies(24, {"a": 20, "red": 7}).save(tmp_path / "frequencies.json")
    where = ("evaluate", f"bundle={bundle}", "data=scenes", f"data.root={scenes}", *SAMPLES)
    ran = command(*where, f"search.frequencies={tmp_path / 'frequencies.json'}", f"output={tmp_path / 'out'}")
    assert ran.status == 0, ran.err
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["signature"]["search"]
    assert (found["name"], found["search"]["name"], found["search"]["num_samples"]) == (
        "MinimumBayesRisk",
        "Sampling",
        4,
    )
    assert (found["frequencies"], found["num_images"], found["max_length"]) == (_digest({"a": 20, "red": 7}), 24, 6)
    ran = command(*where, f"search.frequencies={tmp_path / 'none.json'}", f"output={tmp_path / 'other'}")
    assert "none.json" in ran.message


def test_a_bundle_s_own_search_takes_document_frequencies_and_other_searches_refuse_them(
    command: Command, bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    captioner = Captioner.from_pretrained(bundle)
    own = Sampling(num_samples=4, max_length=6)
    captioner.search = MinimumBayesRisk(search=own, words=captioner.tokenizer.vocabulary)
    plain = {"_target_": "captioning.search.Sampling", "num_samples": 4, "max_length": 6}
    search = {
        "_target_": "captioning.search.MinimumBayesRisk",
        "search": plain,
        "words": captioner.tokenizer.vocabulary,
    }
    captioner.config = {**captioner.known_config, "search": search}
    captioner.save(tmp_path / "bundle")
    DocumentFrequencies(24, {"a": 20, "red": 7}).save(tmp_path / "frequencies.json")
    settings = ("data=scenes", f"data.root={scenes}", f"search.frequencies={tmp_path / 'frequencies.json'}")
    ran = command("evaluate", f"bundle={tmp_path / 'bundle'}", *settings, f"output={tmp_path / 'out'}")
    assert ran.status == 0, ran.err
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["signature"]["search"]
    assert found["frequencies"] == _digest({"a": 20, "red": 7})
    assert (found["num_images"], found["search"]["num_samples"]) == (24, 4)
    for search in ((), ("search=sampling",)):
        ran = command("evaluate", f"bundle={bundle}", *settings, *search, f"output={tmp_path / 'other'}")
        assert "compares no captions; add search=minimum_bayes_risk" in ran.message

"""Word detectors and matchers are compared from what their results keep of each image."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import yaml

from captioning.errors import InputError
from captioning.files.digests import write_digests
from captioning.metrics.detections_file import Detections
from captioning.metrics.rank_uncertainty import compare as compare_ranks
from captioning.metrics.ranking import retrieve_images, retrieve_sentences, scores_of
from captioning.metrics.ranks_file import Ranks
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import evaluate
from captioning.metrics.word_sizes import WordSizes
from captioning.metrics.word_uncertainty import compare as compare_words
from captioning.reports.comparison import compare_runs

NUM_IMAGES = 60
COUNTS = WordCounts(("dog", "runs", "red"), np.random.default_rng(0).integers(0, 6, (NUM_IMAGES, 3)))
BITS = np.where(COUNTS.counts > 0, np.random.default_rng(1).choice([1, 4, 5], (NUM_IMAGES, 3)), 0) * [1, 0, 1]
SIZES = WordSizes((0.1, 0.2), BITS.astype(np.uint8))  # "runs" mentions no object, and nothing is of medium size


def make_run(folder: Path, overrides: dict[str, str], scores: dict[str, float], kept: Detections | Ranks) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"{k}={v}" for k, v in overrides.items()]))
    (folder / "metrics.json").write_text(json.dumps({"metrics": scores}))
    kept.save(folder / ("detections.safetensors" if isinstance(kept, Detections) else "ranks.safetensors"))
    write_digests(folder)


def probabilities(noise: float, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, noise, COUNTS.counts.shape)
    return 1 / (1 + np.exp(-(COUNTS.counts - 2.5 + drawn)))


def make_detector(
    folder: Path, name: str, seed: int, noise: float, counts: WordCounts = COUNTS, sizes: WordSizes | None = None
) -> None:
    scores = probabilities(noise, seed)
    means = evaluate(counts, scores).means()["all"]
    kept = Detections.of(range(NUM_IMAGES), counts, scores, sizes)
    shown = {key: means[key] for key in ("AP", "PHR", "chance")}
    make_run(folder, {"detector": name, "seed": str(seed)}, shown, kept)


def ranked(noise: float, seed: int) -> Ranks:
    owners = np.arange(2 * NUM_IMAGES) // 2
    similarity = np.random.default_rng(seed).normal(0, noise, (NUM_IMAGES, len(owners)))
    similarity += np.arange(NUM_IMAGES)[:, None] == owners
    directions = {
        "image_to_text": retrieve_sentences(similarity, owners, np.zeros(len(owners))),
        "text_to_image": retrieve_images(similarity, owners),
    }
    return Ranks(range(NUM_IMAGES), "sentences", directions)


def make_matcher(folder: Path, name: str, seed: int, noise: float) -> None:
    kept = ranked(noise, seed)
    make_run(folder, {"matcher": name, "seed": str(seed)}, scores_of(kept.directions), kept)


@pytest.fixture
def detectors(tmp_path: Path) -> Path:
    for seed in (1, 2):
        make_detector(tmp_path / f"sweep/{seed}", "weak", seed, 6)
        make_detector(tmp_path / f"sweep/{seed + 2}", "strong", seed + 2, 0.5)
    return tmp_path / "sweep"


def test_detectors_differ_as_their_probabilities_do_with_seeds_averaged(detectors: Path) -> None:
    found = compare_runs([detectors], seed=5)
    weak, strong = ([probabilities(noise, seed) for seed in seeds] for noise, seeds in ((6, (1, 2)), (0.5, (3, 4))))
    expected = compare_words(COUNTS, strong, weak, np.random.default_rng(5))["all"]
    assert [setting.values for setting in found.settings] == [("weak",), ("strong",)]
    assert [(of.score, of.best, of.other) for of in found.differences] == [("AP", 1, 0), ("PHR", 1, 0)]
    for of in found.differences:
        assert astuple(of.found) == pytest.approx(astuple(expected[of.score]))
        assert of.found.p_value == 1 / 1001
    assert found.best == {"AP": 1, "PHR": 1}


def test_sizes_of_objects_are_tested_apart(tmp_path: Path) -> None:
    make_detector(tmp_path / "a", "weak", 1, 6, sizes=SIZES)
    make_detector(tmp_path / "b", "strong", 2, 0.5, sizes=SIZES)
    found = compare_runs([tmp_path / "a", tmp_path / "b"], seed=5)
    generator, runs = np.random.default_rng(5), ([probabilities(6, 1)], [probabilities(0.5, 2)])
    compare_words(COUNTS, *runs, generator)
    expected = {name: compare_words(own, *runs, generator)["all"]["AP"] for name, own in SIZES.within(COUNTS).items()}
    assert [of.score for of in found.differences] == ["AP", "PHR", "AP small", "AP large"]
    for of, name in zip(found.differences[2:], ("small", "large"), strict=True):
        assert (of.best, of.other) == (1, 0)
        assert of.found.difference == pytest.approx(-expected[name].difference)
        assert of.found.p_value == expected[name].p_value == 1 / 1001
    weak, _ = csv.DictReader(io.StringIO(found.csv()))
    assert float(weak["AP large difference"]) == found.differences[3].found.difference
    assert weak["AP large mean"] == ""  # the table of scores has no column for it


def test_sizes_are_tested_if_all_runs_have_them_and_other_sizes_are_refused(tmp_path: Path) -> None:
    for name, sizes in (("a", SIZES), ("b", None), ("c", WordSizes((0.1, 0.3), SIZES.sizes))):
        make_detector(tmp_path / name, name, 1, 1, sizes=sizes)
    found = compare_runs([tmp_path / "a", tmp_path / "b"])
    assert [of.score for of in found.differences] == ["AP", "PHR"]
    assert "the runs have different images or references" in compare_runs([tmp_path / "a", tmp_path / "c"]).note


def test_matchers_differ_as_their_ranks_do_and_the_lowest_median_rank_is_best(tmp_path: Path) -> None:
    make_matcher(tmp_path / "a", "strong", 1, 0.3)
    make_matcher(tmp_path / "b", "weak", 2, 3)
    found = compare_runs([tmp_path / "a", tmp_path / "b"], seed=5)
    expected = compare_ranks([ranked(0.3, 1).directions], [ranked(3, 2).directions], np.random.default_rng(5))
    assert {of.score: of.found for of in found.differences} == expected
    assert {(of.best, of.other) for of in found.differences} == {(0, 1)}
    assert expected["text_to_image median_rank"].high < 0 < expected["recall"].low
    assert set(found.best) == set(expected)


def test_equally_good_detectors_are_not_marked_and_the_p_value_says_so(tmp_path: Path) -> None:
    make_detector(tmp_path / "a", "one", 1, 1)
    make_detector(tmp_path / "b", "other", 2, 1)
    found = compare_runs([tmp_path / "a", tmp_path / "b"])
    assert found.best == {}
    assert all(of.found.p_value > 0.05 for of in found.differences)
    assert all(of.found.difference >= 0 for of in found.differences)


def test_a_score_is_marked_only_if_its_row_beats_every_other(tmp_path: Path) -> None:
    for name, noise in (("good", 0.5), ("as_good", 0.5), ("bad", 6)):
        make_detector(tmp_path / name, name, len(name), noise)
    found = compare_runs([tmp_path / name for name in ("good", "as_good", "bad")])
    best, *_ = found.differences
    p = {(of.best, of.other): of.found.p_value for of in found.differences if of.score == "AP"}
    assert found.best == {}
    assert len(p) == 2
    assert p[best.best, 2] < 0.05 < p[best.best, 1 - best.best]


def test_markdown_csv_and_html_have_the_differences(detectors: Path) -> None:
    found = compare_runs([detectors])
    ap, phr = found.differences
    text = found.markdown().splitlines()
    start = text.index("| score | best row | other row | difference | 95 % interval | p |")
    assert text[start - 1] == ""
    interval = f"{ap.found.low:+.4f} – {ap.found.high:+.4f}"
    assert text[start + 2] == f"| AP | strong | weak | {ap.found.difference:+.4f} | {interval} | 0.0010 |"
    assert text[start + 3].startswith("| PHR | strong | weak | +")
    assert "approximate randomization" in text[-1]
    weak, strong = csv.DictReader(io.StringIO(found.csv()))
    assert float(weak["AP difference"]) == ap.found.difference
    assert [float(weak[f"PHR {part}"]) for part in ("low", "high", "p_value")] == [
        phr.found.low, phr.found.high, phr.found.p_value
    ]  # fmt: skip
    assert {strong["AP difference"], weak["chance difference"]} == {""}
    assert f"<td>{ap.found.difference:+.4f}</td><td>{interval}</td><td>0.0010</td>" in found.html()


def test_what_cannot_be_compared_is_not_tested_and_the_note_says_why(detectors: Path, tmp_path: Path) -> None:
    def untested(*folders: Path) -> str:
        found = compare_runs(folders)
        assert (found.best, found.differences) == ({}, [])
        return found.note

    assert "the rows have different numbers of runs" in untested(*(detectors / str(n) for n in (1, 2, 3)))
    other = WordCounts(COUNTS.words, COUNTS.counts[::-1])
    make_detector(tmp_path / "other", "other", 7, 1, other)
    assert "the runs have different images or references" in untested(detectors / "1", tmp_path / "other")
    make_matcher(tmp_path / "matcher", "gru", 1, 1)
    assert "models of different kinds" in untested(detectors / "1", tmp_path / "matcher")
    (detectors / "3" / "detections.safetensors").unlink()
    assert f"{detectors / '3'} without statistics.safetensors, detections." in untested(
        detectors / "1", detectors / "3"
    )


def test_one_image_is_not_tested(tmp_path: Path) -> None:
    for name in ("a", "b"):
        kept = Detections.of([1], WordCounts(("dog",), np.ones((1, 1), np.int8)), np.ones((1, 1)))
        make_run(tmp_path / name, {"detector": name}, {"AP": 1.0}, kept)
    assert "there is one image" in compare_runs([tmp_path / "a", tmp_path / "b"]).note


def test_a_changed_file_is_refused(detectors: Path) -> None:
    (detectors / "1" / "detections.safetensors").write_bytes((detectors / "2" / "detections.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"detections\.safetensors"):
        compare_runs([detectors])

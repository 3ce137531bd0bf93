"""captioning bench prints a ratio to a reference for every model, cell and scorer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning.benchmarks import encoders, scoring, search, speed, training
from captioning.benchmarks.scoring import generated_captions

Command = Callable[..., Any]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"EMBEDDING": 7, "HIDDEN": 5}.items():
        monkeypatch.setattr(speed, name, size)


def test_training_is_measured_beside_its_products_and_a_bare_loop(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = training.Sizes(vocabulary=11, width=8, features=7, regions=2)
    case = training.Case(decoder="att2in", dtype="float32", images=3, captions_per_image=2, sizes=sizes, repeat=2)
    measured = training.bench_training
    monkeypatch.setattr(training, "bench_training", lambda: measured([case]))
    ran = command("bench", "train", "--json", tmp_path / "bench.json")
    assert ran.status == 0, ran.err
    (row,) = json.loads((tmp_path / "bench.json").read_text())
    assert (row["decoder"], row["images"], row["captions"], row["vocabulary"]) == ("att2in", 3, 6, 11)
    assert min(row["captions_per_second"], row["floor_captions_per_second"], row["ratio"], row["bare_ratio"]) > 0
    assert "bare_ratio" in "".join(ran.out.split())


def test_searches_are_measured_beside_their_products(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = search.Case(decoder="mrnn", search="top-p", beam_size=2, images=3, repeat=1)
    small = search.Sizes(vocabulary=11, width=5, features=7, regions=2, steps=2)
    measured = search.bench_search
    monkeypatch.setattr(search, "bench_search", lambda: measured([case], small))
    ran = command("bench", "search", "--json", tmp_path / "bench.json")
    assert ran.status == 0, ran.err
    (row,) = json.loads((tmp_path / "bench.json").read_text())
    assert (row["decoder"], row["search"], row["beam_size"], row["images"]) == ("mrnn", "top-p", 2, 3)
    assert row["ratio"] == pytest.approx(row["images_per_second"] / row["floor_images_per_second"])
    assert "images_per_second" in "".join(ran.out.split())


def test_the_ratio_of_every_cell_to_torch_s_lstm_is_reported(command: Command, small: None, tmp_path: Path) -> None:
    ran = command("bench", "recurrent", "--json", tmp_path / "bench.json")
    assert ran.status == 0
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert {row["cell"] for row in rows} == {*speed.CELLS, *speed.STACKS}
    for row in rows:
        assert set(row) == {"cell", "seconds", "lstm_seconds", "ratio", "spread"}
        assert row["cell"] in ran.out
    assert "products" not in ran.out


def test_encoders_are_reported_beside_torch_s_own(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, name = encoders.bench_encoders, "mobilenetv3_small_050"
    monkeypatch.setattr(encoders, "bench_encoders", lambda: measured([name], [name], num_images=1, size=32, repeat=1))
    ran = command("bench", "encoder", "--json", tmp_path / "bench.json")
    assert ran.status == 0, ran.err
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["network"], row["work"]) for row in rows] == [(name, "training"), (name, "features")]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["images_per_second"] / row["torch_images_per_second"])


def test_an_unknown_benchmark_is_refused(command: Command) -> None:
    ran = command("bench", "trian")
    assert ran.status == 2
    assert "no benchmark trian; choose from train, search, recurrent, encoder, score, humans, coco" in ran.err


@pytest.mark.parametrize("threads", ["0", "many"])
def test_an_impossible_number_of_threads_is_refused(command: Command, threads: str) -> None:
    ran = command("bench", f"--threads={threads}")
    assert ran.status == 2
    assert f"expected a whole number from 1, found '{threads}'" in ran.err


@pytest.mark.parametrize("corpus", ["corpus", pytest.param("corpus with METEOR", marks=pytest.mark.slow)])
def test_scoring_is_measured_against_pycocoevalcap(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str
) -> None:
    monkeypatch.setattr(scoring, "REPETITIONS", 1)
    monkeypatch.setattr(scoring, "CORPORA", {corpus: scoring.CORPORA[corpus]})
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({n: [f"a dog and {n} cats", f"{n} cats and a dog", "a dog"] for n in range(9)}))
    ran = command("bench", "score", "--data", captions, "--json", tmp_path / "bench.json")
    assert ran.status == 0, ran.err
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in rows] == [corpus, "cider-d"]
    for row in rows:
        assert set(row) == {"name", "seconds", "pycocoevalcap_seconds", "ratio", "spread"}
        assert row["ratio"] == pytest.approx(row["pycocoevalcap_seconds"] / row["seconds"])  # of one repetition


def test_each_scene_has_five_generated_captions() -> None:
    captions = generated_captions(7)
    assert list(captions) == list(range(7))
    assert {len(group) for group in captions.values()} == {5}


def test_metrics_are_compared_with_people(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "bench humans needs --data" in command("bench", "humans").message
    lines = [f"{n}.jpg#{k}\ta {word} dog {k} runs" for n, word in enumerate(("red", "blue", "big")) for k in range(2)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines))
    (tmp_path / "ExpertAnnotations.txt").write_text("0.jpg\t1.jpg#0\t1\t2\t2\n1.jpg\t2.jpg#1\t3\t3\t4\n")
    (tmp_path / "CrowdFlowerAnnotations.txt").write_text("0.jpg\t1.jpg#0\t0.5\t1\t1\n1.jpg\t2.jpg#1\t1\t3\t0\n")
    monkeypatch.setattr("captioning.benchmarks.agreement.agreements.__kwdefaults__", {"metrics": ("BLEU", "ROUGE-L")})
    ran = command("bench", "humans", "--data", tmp_path, "--json", tmp_path / "out.json")
    assert ran.status == 0, ran.err
    rows = json.loads((tmp_path / "out.json").read_text())
    assert {(row["judges"], row["num_pairs"], row["num_ratings"]) for row in rows} == {
        ("experts", 2, 6),
        ("crowd", 2, 2),
    }
    assert {row["metric"] for row in rows} >= {"BLEU-4", "ROUGE-L"}

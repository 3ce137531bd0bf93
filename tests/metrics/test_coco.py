from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pycocoevalcap.eval
import pytest
from pycocoevalcap.meteor import meteor as reference_meteor

import captioning
from captioning.errors import InputError
from captioning.metrics import CocoScorer, compare, intervals, tokenize
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.originals import backend as pycocoevalcap_backend
from captioning.metrics.originals.meteor_jar import MeteorJar

NAMES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
REFERENCES = {
    3: ["A dog runs on the grass.", "The dog is running."],
    1: ["Two men wait for a bus.", "two men at a bus stop"],
    2: ["A red bus", "A bus on a street.", "The red bus drives down a street."],
}
CAPTIONS = {1: "two men and a bus", 2: "a red bus on the street", 3: "a dog running on grass"}


@pytest.fixture(scope="module")
def scorer(meteor_folder: Path) -> Iterator[CocoScorer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_meteor, "__file__", str(meteor_folder / "meteor.py"))
        scorer = CocoScorer(REFERENCES)
    with scorer:
        yield scorer


class TidyMeteor(reference_meteor.Meteor):  # type: ignore[misc]
    def __del__(self) -> None:
        super().__del__()
        self.meteor_p.stdout.close()
        self.meteor_p.stderr.close()


class NoSpice:
    def method(self) -> str:
        return "SPICE"

    def compute_score(self, gts: dict[Any, Any], res: dict[Any, Any]) -> tuple[float, list[float]]:
        return 0.0, [0.0] * len(gts)


def reference_scores(
    references: dict[Any, list[str]], captions: dict[Any, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, float], dict[Any, dict[str, float]]]:
    """COCOEvalCap itself, without SPICE, under our names."""
    monkeypatch.setattr(pycocoevalcap.eval, "Spice", NoSpice)
    monkeypatch.setattr(pycocoevalcap.eval, "Meteor", TidyMeteor)
    truth = {image_id: [{"caption": text} for text in group] for image_id, group in references.items()}
    results = {image_id: [{"caption": text}] for image_id, text in captions.items()}
    evaluation = pycocoevalcap.eval.COCOEvalCap(
        SimpleNamespace(getImgIds=lambda: list(references), imgToAnns=truth),
        SimpleNamespace(imgToAnns=results),
    )
    evaluation.evaluate()

    def rename(scores: dict[str, float]) -> dict[str, float]:
        return {name: scores[name.replace("BLEU-", "Bleu_").replace("ROUGE-L", "ROUGE_L")] for name in NAMES}

    return rename(evaluation.eval), {i: rename(scores) for i, scores in evaluation.imgToEval.items()}


def assert_equals_reference(
    backend: str,
    references: dict[Any, list[str]],
    captions: dict[Any, str],
    monkeypatch: pytest.MonkeyPatch,
    within: float,
) -> None:
    with CocoScorer(references, backend=backend) as scorer:
        found = scorer.score(captions)
    corpus, per_image = reference_scores(references, captions, monkeypatch)
    assert found.corpus == pytest.approx(corpus, rel=0, abs=within)
    assert list(found.per_image) == list(references)
    for image_id, scores in per_image.items():
        assert found.per_image[image_id] == pytest.approx(scores, rel=0, abs=within), image_id


FAST = ("BLEU", "ROUGE-L", "CIDEr")


def test_lists_are_scored_as_mappings_are() -> None:
    by_id = CocoScorer(REFERENCES, metrics=FAST).score(CAPTIONS)
    by_place = CocoScorer(list(REFERENCES.values()), metrics=FAST).score([CAPTIONS[image] for image in REFERENCES])
    assert by_place.corpus == by_id.corpus
    assert list(by_place.per_image) == [0, 1, 2]
    assert list(by_place.per_image.values()) == list(by_id.per_image.values())


def test_a_string_in_a_list_is_one_reference() -> None:
    captions = ["a dog", "a red bus"]
    one = CocoScorer(["a dog runs", "the bus"], metrics=FAST).score(captions)
    assert one == CocoScorer([["a dog runs"], ["the bus"]], metrics=FAST).score(captions)


def test_lists_of_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="a caption for each of the 3 images, found 2"):
        CocoScorer(list(REFERENCES.values()), metrics=FAST).score(["a", "b"])
    with pytest.raises(InputError, match="a list of captions is for references that were given in a list"):
        CocoScorer(REFERENCES, metrics=FAST).score(list(CAPTIONS.values()))
    with pytest.raises(InputError, match="found a string"):
        CocoScorer("a dog", metrics=FAST)
    with pytest.raises(InputError, match="expected captions by image id"):
        CocoScorer(["a dog"], metrics=FAST).score("a")


def test_scores_have_pycocoevalcaps_names_too() -> None:
    scores = CocoScorer(REFERENCES, metrics=FAST).score(CAPTIONS)
    assert list(scores.named_as_in_pycocoevalcap()) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert list(scores.named_as_in_pycocoevalcap().values()) == list(scores.corpus.values())


@pytest.mark.usefixtures("quick_meteor", "reference_java")
@pytest.mark.parametrize(("backend", "within"), [("captioning", 1e-9), ("pycocoevalcap", 1e-12)])
def test_scores_equal_pycocoevalcaps(
    monkeypatch: pytest.MonkeyPatch, hard_captions: list[str], backend: str, within: float
):
    shifted = hard_captions[3:] + hard_captions[:3]
    references = {i: [f"{text} and a dog", shifted[i], text[: i + 3]] for i, text in enumerate(hard_captions)}
    assert_equals_reference(backend, references, dict(enumerate(hard_captions)), monkeypatch, within)


def test_default_scores_have_the_agreed_names_and_are_plain_floats(scorer: CocoScorer):
    scores = scorer.score(CAPTIONS)
    for found in (scores.corpus, *scores.per_image.values()):
        assert list(found) == NAMES
        assert {type(value) for value in found.values()} == {float}
    assert json.loads(json.dumps(scores.corpus)) == scores.corpus


def test_order_of_the_captions_does_not_matter(scorer: CocoScorer):
    scores = scorer.score(CAPTIONS)
    assert scorer.score(dict(reversed(CAPTIONS.items()))) == scores
    assert list(scores.per_image) == list(REFERENCES)


def test_order_of_the_references_does_not_matter(scorer: CocoScorer):
    with CocoScorer(dict(sorted(REFERENCES.items())), metrics=["BLEU", "ROUGE-L", "CIDEr"]) as other:
        scores = other.score(CAPTIONS)
    expected = scorer.score(CAPTIONS)
    assert scores.corpus == pytest.approx({name: expected.corpus[name] for name in scores.corpus}, rel=0, abs=1e-12)
    for image_id, found in scores.per_image.items():
        assert found == {name: expected.per_image[image_id][name] for name in found}


@pytest.mark.parametrize("backend", ["captioning", "pycocoevalcap"])
def test_metrics_can_be_chosen(backend: str):
    with CocoScorer(REFERENCES, metrics=["CIDEr", "BLEU"], backend=backend) as scorer:
        assert list(scorer.score(CAPTIONS).corpus) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr"]


@pytest.mark.usefixtures("quick_meteor")
def test_pycocoevalcap_s_scorer_ends_its_process(monkeypatch: pytest.MonkeyPatch):
    pids = []

    class Recording(MeteorJar):
        def __init__(self) -> None:
            super().__init__()
            pids.append(self._process.pid)

    monkeypatch.setattr(pycocoevalcap_backend, "MeteorJar", Recording)
    with CocoScorer(REFERENCES, backend="pycocoevalcap"):
        pass
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], os.WNOHANG)


def test_pycocoevalcap_s_scorer_has_its_own_document_frequencies_and_no_intervals():
    with pytest.raises(InputError, match="in the references alone"):
        CocoScorer(REFERENCES, metrics=["CIDEr"], frequencies=DocumentFrequencies(9, {}), backend="pycocoevalcap")
    with CocoScorer(REFERENCES, metrics=["CIDEr"], backend="pycocoevalcap") as scorer:
        assert intervals(scorer.score(CAPTIONS)) == {}
        assert scorer.signature()["pycocoevalcap"] == version("pycocoevalcap")


def test_cider_of_one_image_needs_other_images_frequencies():
    one, caption = {1: REFERENCES[1]}, {1: CAPTIONS[1]}
    frequencies = DocumentFrequencies.of(list(tokenize(REFERENCES).values()))
    assert CocoScorer(one, metrics=["CIDEr"]).score(caption).corpus == {"CIDEr": 0.0}
    expected = CocoScorer(REFERENCES, metrics=["CIDEr"]).score(CAPTIONS).per_image[1]
    scorer = CocoScorer(one, metrics=["CIDEr"], frequencies=frequencies)
    assert scorer.score(caption).corpus == pytest.approx(expected)
    assert scorer.signature()["document_frequencies"] == "3 other images"


def test_cider_d_is_what_coco_calls_cider():
    scores = CocoScorer(REFERENCES, metrics=["CIDEr-D", "CIDEr"]).score(CAPTIONS)
    assert scores.corpus["CIDEr-D"] == scores.corpus["CIDEr"] > 0


def test_scores_of_other_images_or_metrics_are_not_compared():
    first = CocoScorer(REFERENCES, metrics=["BLEU"]).score(CAPTIONS)
    reordered = CocoScorer(dict(reversed(REFERENCES.items())), metrics=["BLEU"]).score(CAPTIONS)
    with pytest.raises(InputError, match="of the same images in the same order"):
        compare(first, reordered)
    other = CocoScorer(REFERENCES, metrics=["ROUGE-L"]).score(CAPTIONS)
    with pytest.raises(InputError, match="found statistics of BLEU and of ROUGE-L"):
        compare(first, other)


def test_digest_depends_on_the_references_tokens_alone():
    def digest(references: dict[int, list[str]]) -> str:
        return str(CocoScorer(references, metrics=["BLEU"]).signature()["references"])

    spelled = {image_id: [f"{text.upper()} !" for text in group] for image_id, group in REFERENCES.items()}
    assert digest(REFERENCES) == digest(spelled)  # the same tokens
    assert len({digest({**REFERENCES, 1: group}) for group in (["a"], ["b"], ["a", "b"], ["b", "a"])}) == 4


def test_every_score_has_an_interval_around_it_and_a_test_of_its_difference():
    metrics = ["BLEU", "ROUGE-L", "CIDEr"]
    references = {n: [f"a {word} dog runs", f"the {word} dog"] for n, word in enumerate("abcdefghijklmnopqrst")}
    scorer = CocoScorer(references, metrics=metrics)
    good = scorer.score({n: group[0] if n % 4 else "a dog" for n, group in references.items()})
    bad = scorer.score({n: "a cat runs" if n % 2 else "the dog" for n in references})
    found = intervals(good, num_replicates=200)
    assert list(found) == list(good.corpus)
    for name, interval in found.items():
        assert interval.score == pytest.approx(good.corpus[name])
        assert interval.low <= interval.score <= interval.high
    assert found == intervals(good, num_replicates=200)
    for name, comparison in compare(good, bad, num_replicates=200).items():
        assert comparison.difference == pytest.approx(good.corpus[name] - bad.corpus[name])
        assert comparison.p_value < 0.05
    assert all(comparison.p_value == 1 for comparison in compare(good, good, num_replicates=20).values())


def test_references_without_a_word_are_refused():
    with pytest.raises(InputError, match="expected references with words; after tokenization not one has any"):
        CocoScorer({1: ["..."], 2: ["", "!"]}, metrics=["CIDEr"])


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]):
    with CocoScorer(REFERENCES, metrics=["BLEU", "ROUGE-L", "CIDEr"]) as scorer:
        scorer.score(CAPTIONS)
    assert capfd.readouterr() == ("", "")


def test_empty_captions_and_references_are_reported(caplog: pytest.LogCaptureFixture):
    with (
        caplog.at_level(logging.WARNING),
        CocoScorer({**REFERENCES, 7: ["...", "x"]}, metrics=["BLEU"]) as scorer,
    ):
        scores = scorer.score({**CAPTIONS, 2: "", 7: "!"})
    assert "images with an empty reference after tokenization: 1 (7)" in caplog.text
    assert "images with an empty caption after tokenization: 2 (2, 7)" in caplog.text
    assert scores.per_image[2]["BLEU-1"] == 0


def test_ids_that_do_not_match_are_listed(scorer: CocoScorer):
    with pytest.raises(InputError, match=r"each of the 3 images .*without a caption: 1 \(2\); .*references: 0$"):
        scorer.score({1: "a", 3: "a"})
    with pytest.raises(InputError, match=r"without a caption: 0; captions without references: 1 \(99\)$"):
        scorer.score({**CAPTIONS, 99: "a"})
    with pytest.raises(InputError, match=r"references: 20 \('0', '1', .*'9', \.\.\.\); ids must match in type too"):
        scorer.score({str(i): "a" for i in range(20)})


def test_caption_that_is_not_a_string_is_refused(scorer: CocoScorer):
    with pytest.raises(InputError, match=r"not so for 1 \(2\)"):
        scorer.score({**CAPTIONS, 2: ["a dog"]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ({}, "expected references for at least one image, found none"),
        ({1: ["a"], 2: [], 3: []}, r"at least one reference for each image, found none for 2 \(2, 3\); drop"),
        (
            {1: "a dog", 2: ["a"]},
            r"expected a list of strings as the references of each image; not so for 1 \(1\)",
        ),
        ({1: ["a", None]}, r"expected a list of strings as the references of each image; not so for 1 \(1\)"),
    ],
)
def test_wrong_references_are_refused(references: Any, message: str):
    with pytest.raises(InputError, match=message):
        CocoScorer(references)


@pytest.mark.parametrize("metrics", [["WER"], [], "METEOR"])
def test_unknown_metric_or_backend_is_refused_with_those_that_are_known(metrics: Any):
    with pytest.raises(InputError, match=r"expected metrics among BLEU, METEOR, ROUGE-L, CIDEr, .*; found"):
        CocoScorer(REFERENCES, metrics=metrics)
    with pytest.raises(InputError, match=r"the backend pycocoevalcap computes BLEU, .*; found CIDEr-D"):
        CocoScorer(REFERENCES, metrics=["CIDEr-D"], backend="pycocoevalcap")
    with pytest.raises(InputError, match="of the backends captioning, pycocoevalcap; found 'x'"):
        CocoScorer(REFERENCES, backend="x")


def test_signature_says_what_determines_the_scores():
    with CocoScorer(REFERENCES, metrics=["BLEU", "CIDEr"]) as scorer:
        signature = scorer.signature()
    assert signature == {
        "captioning": captioning.__version__,
        "tokenizer": "Penn Treebank rules of Stanford CoreNLP 3.4.1 in Python, lower case, punctuation removed",
        "metrics": ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr"],
        "document_frequencies": "these references",
        "references": signature["references"],
        "end_word": "not scored",
        "num_images": 3,
        "num_references": 7,
        "min_references": 2,
        "max_references": 3,
    }


def test_scoring_imports_neither_torch_nor_pycocoevalcap():
    program = (
        "import sys; from captioning.metrics import CocoScorer; CocoScorer({1: ['a']}, metrics=['BLEU', 'CIDEr']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pycocoevalcap')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.shared
@pytest.mark.usefixtures("reference_java")
def test_scores_equal_pycocoevalcaps_on_flickr8k_dev(shared: Path, monkeypatch: pytest.MonkeyPatch):
    folder = shared / "data" / "flickr8k"
    dev = (folder / "Flickr_8k.devImages.txt").read_text(encoding="utf-8").split()
    captions: dict[str, list[str]] = {name: [] for name in dev}
    for line in (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        if name.split("#")[0] in captions:
            captions[name.split("#")[0]].append(caption)
    assert len(captions) == 1000
    references = {name: group[1:] for name, group in captions.items()}
    captions_of = {name: group[0] for name, group in captions.items()}
    assert_equals_reference("captioning", references, captions_of, monkeypatch, 1e-6)


@pytest.mark.shared
@pytest.mark.usefixtures("reference_java")
def test_scores_equal_pycocoevalcaps_on_coco(shared: Path, monkeypatch: pytest.MonkeyPatch):
    path = shared / "data" / "coco_captions" / "captions_val2017.json"
    captions: dict[int, list[str]] = {}
    for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    assert len(captions) == 5000
    references = {image_id: group[1:] for image_id, group in captions.items()}
    assert_equals_reference("captioning", references, {i: group[0] for i, group in captions.items()}, monkeypatch, 1e-6)

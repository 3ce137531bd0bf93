"""Thousands of damaged and hostile JSON, YAML and text files of every reader: refused with one message, or harmless."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fuzzing import changed_bytes, changed_json, fuzz

from captioning.commands.evaluate import check_languages
from captioning.data.readers import ParallelText
from captioning.data.readers.coco import read_coco
from captioning.data.readers.flickr8k import read_flickr8k
from captioning.data.readers.flickr8k_judgements import read_crowd, read_experts
from captioning.data.readers.karpathy import read_karpathy
from captioning.data.scenes import write_scenes
from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.metrics.cider import Cider
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.statistics_file import save_statistics
from captioning.reports.comparison import compare_runs

FEW = {"num_train": 3, "num_val": 2, "num_test": 1, "size": 32, "seed": 3}
HOWS = pytest.mark.parametrize("how", ["bytes", "values"])


def mutator(path: Path, how: str) -> Callable[[random.Random], str]:
    """Change bytes or values of a JSON file."""
    original = path.read_bytes()

    def mutate(drawn: random.Random) -> str:
        if how == "bytes":
            content, what = changed_bytes(original, drawn)
        else:
            text, what = changed_json(json.loads(original), drawn)
            content = text.encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        return what

    return mutate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images in COCO's layout."""
    write_scenes(tmp_path / "scenes", workers=1, **FEW)
    return tmp_path / "scenes"


def whole(captions: Any) -> bool:
    return bool(captions) and all(isinstance(text, str) and text.strip() for text in captions)


@pytest.mark.slow
@HOWS
@pytest.mark.parametrize("name", ["captions", "instances"])
def test_mutated_annotations_of_coco_are_refused_or_images_with_captions(name: str, how: str, root: Path) -> None:
    files = {kind: root / "annotations" / f"{kind}_val2017.json" for kind in ("captions", "instances")}

    def read() -> None:
        for image in read_coco(files["captions"], root / "val2017", files["instances"]):
            assert isinstance(image.image_id, int)
            assert image.path.is_file()
            assert whole(image.captions) or not image.captions
            for thing in image.objects:
                assert all(0 <= number <= 1 for number in thing.box)

    fuzz(f"{name} of coco, {how}", mutator(files[name], how), read)


@pytest.mark.slow
@HOWS
def test_mutated_splits_of_karpathy_are_refused_or_images_with_captions(how: str, tmp_path: Path) -> None:
    images = [
        {
            "filename": f"{n}.jpg",
            "split": split,
            "filepath": "val2014",
            "cocoid": n,
            "sentences": [{"raw": f"a {n}"}] * 2,
        }
        for n, split in enumerate(("train", "restval", "val", "test"))
    ]
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": images, "dataset": "coco"}))

    def read() -> None:
        for split in ("train", "val"):
            for image in read_karpathy(path, tmp_path, split, check_files=False):
                assert isinstance(image.image_id, int | str)
                assert whole(image.captions)

    fuzz(f"karpathy, {how}", mutator(path, how), read)


@pytest.mark.slow
@HOWS
def test_mutated_document_frequencies_are_refused_or_usable(how: str, tmp_path: Path) -> None:
    path = tmp_path / "frequencies.json"
    DocumentFrequencies.of([["a dog runs", "the dog"], ["a dog sleeps"], ["the cat"]]).save(path)

    def read() -> None:
        found = DocumentFrequencies.load(path)
        scores = Cider([["a dog runs"], ["the cat"]], found).statistics(["a dog", "the cat"])
        assert np.isfinite(scores).all()

    fuzz(f"document frequencies, {how}", mutator(path, how), read)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two runs of one setting and one of another, with all files that `report` reads."""
    references = {n: [f"a {chr(97 + n)} dog runs", "the dog"] for n in range(9)}
    scorer = CocoScorer(references, metrics=["BLEU", "ROUGE-L", "CIDEr"])
    for number, decoder in enumerate(("good", "good", "bad")):
        folder = tmp_path / "sweep" / str(number)
        (folder / ".hydra").mkdir(parents=True)
        overrides = [f"decoder={decoder}", f"seed={number}", "data.root='a b'", "~schedule"]
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
        scores = scorer.score({n: references[(n + (number == 2)) % 9][0] for n in range(9)})
        content = {
            "metrics": scores.corpus,
            "language_model": {"perplexity": 9.5, "loss": 2.2},
            "signature": {"a": [1]},
        }
        (folder / "metrics.json").write_text(json.dumps(content))
        (folder / "training.json").write_text(json.dumps({"seconds": 60.5, "precision": "32", "decoder_parameters": 7}))
        save_statistics(folder / "statistics.safetensors", scores, "digest")
    return tmp_path / "sweep"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in ("metrics.json", "training.json") for how in ("bytes", "values")),
        *((name, "bytes") for name in ("statistics.safetensors", ".hydra/overrides.yaml")),
    ],
)
def test_a_mutated_file_of_a_run_is_refused_or_gives_a_table(name: str, how: str, sweep: Path) -> None:
    def read() -> None:
        found = compare_runs([sweep])
        assert found.markdown() and found.csv() and found.html()
        assert len(found.settings) >= 2

    with np.errstate(all="ignore"):
        fuzz(f"{name} of a run, {how}", mutator(sweep / "1" / name, how), read)


@pytest.mark.slow
def test_hostile_yaml_of_a_run_is_refused_or_gives_a_table(sweep: Path) -> None:
    path = sweep / "1" / ".hydra" / "overrides.yaml"
    parts = (
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!!python/name:os.system ",
        "!!int ",
        "!!binary ",
        "!!set ",
        "? ",
        ": ",
    )
    parts += (
        "|",
        ">",
        "'",
        '"',
        "\\",
        "#",
        "%YAML 9",
        "---",
        "\n",
        "\n  ",
        "\t",
        "a=b",
        "0x",
        "1:2:3",
        "2001-99-99",
        "~",
    )
    parts += (
        "<<: ",
        "!!timestamp x",
        "!!float ",
        ".inf",
        ".nan",
        "1e999",
        "é",
        "\x85",
        "\ufeff",
        "9" * 5000,
        "[" * 500,
    )

    def mutate(drawn: random.Random) -> str:
        text = "".join(drawn.choice(parts) for _ in range(drawn.choice((1, 3, 9, 99, 2000))))
        path.write_text(text, encoding="utf-8")
        return repr(text[:100])

    def read() -> None:
        assert compare_runs([sweep]).markdown()

    fuzz("hostile overrides", mutate, read)


@pytest.mark.slow
@HOWS
def test_mutated_settings_of_scenes_are_refused_or_the_same(how: str, root: Path) -> None:
    fuzz(f"settings of scenes, {how}", mutator(root / "scenes.json", how), lambda: write_scenes(root, workers=1, **FEW))


@pytest.mark.slow
@HOWS
def test_mutated_metrics_of_a_bundle_are_refused_or_name_its_languages(how: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(
        json.dumps({"metrics": {"sacreBLEU": 0.3}, "signature": {"data": "multi30k-en-de", "split": "val"}})
    )
    reader = ParallelText(root=str(tmp_path), source="en", target="de")
    fuzz(f"metrics of a bundle, {how}", mutator(path, how), lambda: check_languages(tmp_path, reader, translates=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Flickr8k.token.txt", "Flickr_8k.trainImages.txt", "captions.txt", "judgements"])
def test_mutated_texts_of_flickr8k_are_refused_or_read(name: str, tmp_path: Path) -> None:
    lines = [f"{n}.jpg#{k}\ta dog, {n}, {k}\n" for n in range(9) for k in range(2)]
    if name == "captions.txt":
        (tmp_path / name).write_text("image,caption\n" + "".join(f'{n}.jpg,"a dog, {n}"\n' for n in range(9)))
    else:
        (tmp_path / "Flickr8k.token.txt").write_text("".join(lines))
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("".join(f"{n}.jpg\n" for n in range(5)))
    judged = "".join(f"{n}.jpg\t{n + 1}.jpg#1\t{{}}\t1\t2\n" for n in range(5))
    (tmp_path / "ExpertAnnotations.txt").write_text(judged.format(*"12344"))
    (tmp_path / "CrowdFlowerAnnotations.txt").write_text(judged.format("0.33", "1", "0", "1", "0.5"))
    captions = {f"{n}.jpg": ("a", "b") for n in range(9)}

    def read() -> None:
        if name == "judgements":
            for found in (read_experts(tmp_path, captions), read_crowd(tmp_path, captions)):
                assert all(np.isfinite(judgement.ratings).all() for judgement in found)
            return
        for image in read_flickr8k(tmp_path, "train", check_files=False):
            assert whole(image.captions)

    target = "ExpertAnnotations.txt" if name == "judgements" else name
    fuzz(f"flickr8k {name}", mutator(tmp_path / target, "bytes"), read)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["val.en", "val.de"])
def test_mutated_parallel_text_is_refused_or_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "val.en").write_text("a dog\nthe cat\n")
    (tmp_path / "val.de").write_text("ein Hund\ndie Katze\n")
    reader = ParallelText(root=str(tmp_path), source="en", target="de")

    def read() -> None:
        for pair in reader.read("val"):
            assert pair.captions[0] or pair.text

    fuzz(f"parallel {name}", mutator(tmp_path / name, "bytes"), read)


def test_a_mutation_that_raises_another_error_is_found() -> None:
    def read() -> None:
        if mutated:
            raise KeyError("x")

    mutated: list[int] = []
    with pytest.raises(pytest.fail.Exception, match="mutation 0 of a test: first: KeyError"):
        fuzz("a test", lambda drawn: mutated.append(1) or "first", read, num_mutations=1)
    mutated.clear()
    with pytest.raises(InputError):
        fuzz("a test", lambda drawn: "", lambda: (_ for _ in ()).throw(InputError("original")), num_mutations=1)


def test_a_mutation_that_starts_a_program_or_writes_a_file_is_found(tmp_path: Path) -> None:
    mutated: list[int] = []
    for action in (
        lambda: (tmp_path / "a").write_text(""),
        lambda: shutil.which("x") or __import__("os").system("true"),
    ):
        mutated.clear()
        with pytest.raises(AssertionError, match=r"open|os\.system"):
            fuzz("a test", lambda drawn: mutated.append(1) or "", lambda a=action: mutated and a(), num_mutations=1)
        from fuzzing import GUARD

        GUARD.violations.clear()

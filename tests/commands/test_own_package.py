"""Parts of a user's own package: the example trains, sweeps, evaluates and loads, for callers who trust it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from captioning import Captioner
from captioning.errors import InputError

Command = Callable[..., Any]

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_package"
METRICS = "metrics.names=[BLEU,CIDEr,mypackage.metrics.WordRecall]"
TINY = (
    f"--config-dir={EXAMPLE / 'conf'}", "decoder=glance", "encoder=colours", "decoder.hidden_size=12", METRICS,
    "search.max_length=6", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "callbacks.progress=null",
    "logger=csv", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    """The example package can be imported, as if it were installed."""
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def table(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes in the layout that the example's reader reads."""
    folder = tmp_path_factory.mktemp("table")
    for split in ("train", "val"):
        content = json.loads((scenes / "annotations" / f"captions_{split}2017.json").read_text())
        names = {image["id"]: image["file_name"] for image in content["images"]}
        lines = [f"{names[entry['image_id']]}\t{entry['caption']}\n" for entry in content["annotations"]]
        (folder / f"{split}.tsv").write_text("".join(lines))
        shutil.copytree(scenes / f"{split}2017", folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def own_run(command: Command, installed: None, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "run"
    ran = command("train", *TINY, "data=table", f"data.root={table}", f"output={folder}")
    assert ran.status == 0, ran.err
    return folder


def test_training_says_which_packages_its_bundle_needs(own_run: Path) -> None:
    log = (own_run / "train.log").read_text()
    assert log.count('needs code of mypackage; load it with trust=["mypackage"] in Python, or --trust mypackage') == 1
    assert 'trust=["mypackage"]' in (own_run / "bundle" / "README.md").read_text()


def test_a_metric_of_another_package_is_scored_with_an_interval(own_run: Path) -> None:
    content = json.loads((own_run / "metrics.json").read_text())
    low, high = content["intervals"]["WordRecall"]
    assert 0 <= low <= content["metrics"]["WordRecall"] <= high <= 1


def test_a_bundle_loads_only_if_its_package_is_trusted_by_its_whole_name(own_run: Path) -> None:
    bundle = own_run / "bundle"
    advice = r"unless you trust it: trust=\[\"mypackage\"\] in Python, --trust mypackage in commands"
    for trust in ((), ["my"], ["mypackag"], ["mypackage.encoders", "other"], ["mypackage2"], "my"):
        with pytest.raises(InputError, match=advice):
            Captioner.from_pretrained(bundle, trust=trust)
    for trusted in (["mypackage"], ["other", "mypackage"], "mypackage", ["mypackage.encoders", "mypackage.decoders"]):
        captioner = Captioner.from_pretrained(bundle, trust=trusted)
        assert type(captioner.decoder).__module__ == "mypackage.decoders"


@pytest.mark.parametrize("trust", ["../mypackage", "mypackage ", "", "my-package", "mypackage.", 3])
def test_what_is_no_name_of_a_package_is_refused(own_run: Path, trust: Any) -> None:
    with pytest.raises(InputError, match="is not a package's name"):
        Captioner.from_pretrained(own_run / "bundle", trust=[trust])


def test_captions_and_scores_of_a_trusted_bundle(command: Command, own_run: Path, table: Path, tmp_path: Path) -> None:
    bundle, image = own_run / "bundle", next(table.glob("*.jpg"))
    assert "--trust mypackage" in command("caption", "--model", bundle, image).message
    ran = command("caption", "--model", bundle, image, "--trust", "mypackage")
    assert ran.status == 0, ran.err
    data = (f"--config-dir={EXAMPLE / 'conf'}", "data=table", f"data.root={table}", "trainer.enable_progress_bar=false")
    evaluate = ("evaluate", f"bundle={bundle}", *data, METRICS, f"output={tmp_path}")
    assert "--trust mypackage" in command(*evaluate).message
    ran = command(*evaluate, "--trust", "mypackage")
    assert ran.status == 0, ran.err
    scores = [json.loads((folder / "metrics.json").read_text())["metrics"] for folder in (own_run, tmp_path)]
    assert scores[0] == scores[1]
    assert command("report", own_run, tmp_path).status == 0


def test_a_sweep_over_own_parts_ends_in_a_table(command: Command, installed: None, table: Path, tmp_path: Path) -> None:
    sizes = ("decoder.hidden_size=8,12", "data=table", f"data.root={table}", f"output={tmp_path}")
    ran = command("train", "-m", *TINY, *sizes)
    assert ran.status == 0, ran.err
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 3


def test_features_of_an_own_encoder_are_cached_and_trained_on(
    command: Command, installed: None, table: Path, tmp_path: Path
) -> None:
    data = ("data=table", f"data.root={table}")
    features = tmp_path / "features"
    ran = command("extract", f"--config-dir={EXAMPLE / 'conf'}", "encoder=colours", *data, f"features={features}")
    assert ran.status == 0, ran.err
    (features / "val").rename(tmp_path / "elsewhere")
    said = command("train", *TINY, *data, f"data.features={features}", f"output={tmp_path / 'none'}").message
    assert f"{features / 'val'}" in said
    assert not (tmp_path / "none" / "checkpoints").exists()  # found before the first step
    (tmp_path / "elsewhere").rename(features / "val")
    ran = command("train", *TINY, *data, f"data.features={features}", f"output={tmp_path / 'run'}")
    assert ran.status == 0, ran.err


def test_captions_are_scored_by_an_own_metric(command: Command, installed: None, tmp_path: Path) -> None:
    (tmp_path / "references.json").write_text('{"1": ["a dog runs"], "2": ["two cats sit"]}')
    (tmp_path / "results.json").write_text('{"1": "a dog sits", "2": "two cats"}')
    files = (tmp_path / "references.json", tmp_path / "results.json")
    ran = command("score", *files, "--metrics", "mypackage.metrics.WordRecall")
    assert ran.status == 0, ran.err
    assert "0.6667" in ran.out  # 2 of 3 and 2 of 3 words


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mypackage.metrics.Nothing", "is no metric; expected a class derived from"),
        ("mypackage.metrics.np", "is no metric"),
        ("nopackage.Metric", "cannot be imported: ModuleNotFoundError: No module named 'nopackage'"),
        ("nothing", "there is no metric 'nothing'"),
    ],
)
def test_a_wrong_metric_is_named(command: Command, installed: None, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.json").write_text('{"1": "a dog"}')
    assert message in command("score", tmp_path / "a.json", tmp_path / "a.json", "--metrics", name).message


BROKEN = {
    "import": ("import nowhere\nclass D: pass", "ModuleNotFoundError: No module named 'nowhere'", "broken.py, line 1"),
    "syntax": ("def f(:\n", "SyntaxError: ", "broken.py, line 1"),
    "constructor": (
        "from mypackage.decoders import Glance\nclass D(Glance):\n def __init__(self, **k):\n  raise KeyError('width')",
        "KeyError: 'width'",
        "broken.py, line 4",
    ),
    "no base": ("class D:\n  pass", "is no Decoder; derive the class from captioning.decoders.decoder.Decoder", ""),
    "no class": ("D = 3", "Expected a callable target", ""),
    "no name": ("", "there is no D in broken", ""),
}


@pytest.mark.parametrize(("code", "message", "where"), BROKEN.values(), ids=BROKEN)
def test_the_true_error_of_own_code_is_shown(
    train: Command,
    tmp_path: Path,
    installed: None,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    message: str,
    where: str,
) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    said = train(tmp_path / "run", "++decoder={_target_: broken.D}").message
    assert message in said
    assert where in said
    monkeypatch.delitem(sys.modules, "broken", raising=False)


def test_a_package_that_is_not_installed_is_named(train: Command, tmp_path: Path) -> None:
    said = train(tmp_path / "run", "decoder._target_=nopackage.decoders.D").message
    assert "decoder._target_=nopackage.decoders.D: there is no package nopackage; install it" in said


def test_a_model_of_an_own_package_is_fine_tuned_if_it_is_trusted(
    command: Command, own_run: Path, table: Path, tmp_path: Path
) -> None:
    given = ("train", TINY[0], "experiment=finetune", f"model={own_run}", "data=table", f"data.root={table}",
             METRICS, *TINY[6:])  # fmt: skip
    assert "unless you trust it" in command(*given, f"output={tmp_path / 'one'}").message
    ran = command(*given, "--trust", "mypackage", f"output={tmp_path / 'two'}")
    assert ran.status == 0, ran.err
    assert Captioner.from_pretrained(tmp_path / "two", trust=["mypackage"])

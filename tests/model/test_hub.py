"""Models on the hub. There is no network: the hub's cache is filled as a download would."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import httpx
import pytest
from huggingface_hub import constants

from captioning import Captioner
from captioning.errors import InputError
from captioning.model.hub import download, is_hub_name
from captioning.model.where import locate

BUNDLE = Path(__file__).parents[1] / "fixtures" / "finetuned" / "bundle"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def downloaded(cache: Path, name: str) -> None:
    """Fill the cache as the hub's client does: files are links to their contents."""
    repository = cache / f"models--{name.replace('/', '--')}"
    for folder in ("blobs", "refs", f"snapshots/{'a' * 40}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    for file in BUNDLE.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copyfile(file, repository / "blobs" / digest)
        (repository / "snapshots" / ("a" * 40) / file.name).symlink_to(Path("../../blobs") / digest)


def test_a_model_that_was_downloaded_loads_without_a_network(cache: Path) -> None:
    downloaded(cache, "somebody/captions")
    model = Captioner.from_pretrained("somebody/captions")
    assert model.decoder.head.weight.equal(Captioner.from_pretrained(BUNDLE).decoder.head.weight)


def test_only_the_files_of_a_bundle_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        asked.extend((name, *allow_patterns))
        return str(BUNDLE)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert download("somebody/captions") == BUNDLE
    assert asked == ["somebody/captions", "*.json", "*.safetensors", "README.md", "SHA256SUMS"]


def test_without_a_network_the_message_says_what_to_do() -> None:
    with pytest.raises(InputError, match="somebody/captions is no folder, and could not be downloaded from the hub"):
        Captioner.from_pretrained("somebody/captions")


@pytest.mark.parametrize("error", [httpx.ReadTimeout(""), OSError("disk full\nmore")])
def test_any_failure_of_a_download_is_one_message(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(InputError, match=rf"from the hub \({type(error).__name__}: [^\n]*\); name a folder"):
        download("somebody/captions")


@pytest.mark.parametrize(
    ("where", "is_one"),
    [
        ("somebody/captions", True),
        ("captions", False),
        ("a/b/c", False),
        ("../b", False),
        ("/a/b", False),
        ("a/b c", False),
    ],
)
def test_names_on_the_hub_are_owner_and_name(where: str, is_one: bool) -> None:
    assert is_hub_name(Path(where)) is is_one


def test_a_path_in_an_existing_folder_is_no_name_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="runs/frist does not exist"):
        locate(Path("runs/frist"))

"""Every configuration composes, names what exists, and spells its settings as the code does."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from captioning.commands import config_folder
from captioning.data import Loading
from captioning.decoders import ShowAndTell
from captioning.encoders.features import ImageFeatures
from captioning.model.safe_build import build
from captioning.search.hypotheses import Search

CONF = config_folder()


def files(pattern: str) -> list[Path]:
    """The choices that a user has; a file whose name begins with _ is a part of others."""
    return sorted(path for path in CONF.glob(pattern) if not path.name.startswith("_"))


EXPERIMENTS = [str(p.relative_to(CONF / "experiment").with_suffix("")) for p in files("experiment/**/*.yaml")]
OPTIONS = [
    [f"{group.name}={path.stem}" for path in files(f"{group.name}/*.yaml")]
    for group in sorted(CONF.iterdir())
    if group.is_dir() and group.name not in ("experiment", "recurrent", "trainer")
]
ROUNDS = [("trainer=evaluation",), *(tuple(filter(None, options)) for options in zip_longest(*OPTIONS))]
"""In each round another option of every group: composing takes long, and groups do not know each other's options."""
RECURRENT = [p.stem for p in files("recurrent/*.yaml") if p.stem != "bidirectional"]  # those that step
GIVEN = {
    # By the vocabulary of sentences, and by the bundle of a word detector or of an aligner.
    "encoder": {"vocab_size", "encoder", "word_detector", "words", "standardise"},
    # By the encoder, the vocabulary, the objects, the word detector and the training captions.
    "decoder": {"feature_size", "vocab_size", "categories", "concepts", "num_words", "num_ngrams"},
    "search": {"concepts", "words"},
    # Where it learns something of its own, or from rewards.
    "objective": {"feature_size", "vocab_size", "categories", "eos", "special", "references", "tokenizer"},
    "matcher": {"feature_size", "vocab_size", "vocabulary"},  # by the encoder and the vocabulary
    "detector": {"feature_size", "vocab_size"},
    "text": {"captions"},
    "source_text": {"captions"},
    "vocabulary": {"tokenizer", "captions"},  # of the model that is fine-tuned, and of the training split
    "optimizer": {"params"},
    "schedule": {"optimizer", "num_steps"},
    "recurrent": {"input_size", "hidden_size"},
    "layer": {"input_size", "hidden_size"},  # of a stack
}
"""What the code gives, and no file."""
OTHER_FILES = {"recurrent", "layer", "processors", "num_best"}
"""Settings that come from a file of their own."""
LOADING = {field.name for field in fields(Loading)}
"""Settings that every data set has beside its reader's."""


@pytest.fixture(autouse=True)
def hydra_s_folder() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def compose(*overrides: str, name: str = "train") -> dict[str, Any]:
    config = hydra.compose(name, [*overrides, "name=a-run", "output=runs/a-run"] if name == "train" else [*overrides])
    for key in ("data.root", "bundle", "features", "objective.teacher", "model"):
        if OmegaConf.is_missing(OmegaConf.select(config, key.rpartition(".")[0]) or config, key.split(".")[-1]):
            OmegaConf.update(config, key, "somewhere")
    return plain(config)


def plain(config: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return content


def check(node: Any, where: str) -> int:
    """Bind every `_target_` below `node` to its signature; returns how many there were."""
    if not isinstance(node, dict):
        return 0
    count = sum(check(value, f"{where}.{key}") for key, value in node.items())
    if "_target_" not in node:
        return count
    target = get_object(node["_target_"])
    signature = inspect.signature(target)
    group = where.split(".")[-1]
    settings = {key for key in node if not key.startswith("_")}
    if group == "data":
        assert settings >= LOADING, f"{where}: {LOADING - settings} is not said"
        settings -= LOADING
    given = GIVEN.get(group, set()) & set(signature.parameters)
    twice = settings & given - {"concepts"}  # a language model says that it has none
    assert not twice, f"{where}: {twice} would be given twice"
    names = accepted(target)
    assert settings <= names, f"{where}: {settings - names} is no argument of {node['_target_']}"
    signature.bind(**dict.fromkeys(settings | given))
    return count + 1


def accepted(target: Any) -> set[str]:
    """Names of the arguments."""
    return set(inspect.signature(target).parameters)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_of_parts_that_exist(experiment: str) -> None:
    config = compose(f"experiment={experiment}")
    assert check(config, "train") >= 10
    assert config["trainer"]["max_epochs"] > 0


@pytest.mark.parametrize("options", ROUNDS, ids=",".join)
def test_every_option_of_every_group_composes_of_parts_that_exist(options: tuple[str, ...]) -> None:
    assert check(compose(*options), "train") >= 10


def test_a_language_model_s_sentences_may_be_as_long_as_those_it_learned_from() -> None:
    config = compose("experiment=multi30k/language_model", "text=characters", "data.max_length=123")
    assert config["search"]["max_length"] == config["data"]["max_length"] == 123


@pytest.mark.parametrize("matcher", [p.stem for p in files("matcher/*.yaml")])
def test_every_matcher_composes_of_parts_that_exist(matcher: str) -> None:
    assert check(compose(f"matcher={matcher}")["matcher"], "matcher") >= 1


@pytest.mark.parametrize("cell", RECURRENT)
def test_every_recurrent_layer_can_be_show_and_tell_s(cell: str) -> None:
    config = compose("decoder=show_and_tell", f"recurrent@decoder.recurrent={cell}")
    assert check(config["decoder"], "decoder") == (3 if cell in ("stacked", "graves_stack") else 2)


@pytest.mark.parametrize("cell", RECURRENT)
def test_every_recurrent_layer_can_be_stacked_and_captions(cell: str) -> None:
    stack = ["recurrent@decoder.recurrent=stacked", f"recurrent@decoder.recurrent.layer={cell}"]
    config = compose("decoder=show_and_tell", *stack, "decoder.recurrent.num_layers=3")["decoder"]
    sizes = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 18}  # to be shared
    decoder = build({**config, **sizes}, ShowAndTell, source="conf")
    assert decoder.recurrent.num_layers >= 3
    logits, _ = decoder.step(torch.tensor([4, 5]), decoder.start(ImageFeatures(torch.randn(2, 13))))
    assert logits.shape == (2, 11)


@pytest.mark.parametrize(("command", "targets"), [("extract", 2), ("evaluate", 2), ("nbest", 1), ("snippets", 1)])
@pytest.mark.parametrize("data", [p.stem for p in files("data/*.yaml")])
def test_the_other_commands_compose_with_every_data_set(command: str, targets: int, data: str) -> None:
    overrides = [f"data={data}"] if command == "extract" else [f"data={data}", "output=out"]
    assert check(compose(*overrides, name=command), command) >= targets


def with_what_it_shares(path: Path) -> dict[str, Any]:
    """The settings of a file, and of those files that it shares with others of its folder."""
    own = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(own, dict)
    shared = [name for name in own.get("defaults", []) if isinstance(name, str) and name != "_self_"]
    merged: dict[Any, Any] = {}
    for name in shared:
        merged |= with_what_it_shares(path.with_stem(name))
    return merged | own


@pytest.mark.parametrize("group", ["encoder", "decoder", "matcher", "recurrent", "search"])
def test_a_bundle_s_configuration_says_every_setting(group: str) -> None:
    """A default that changes in the code must not change a bundle that was written before."""
    for path in files(f"{group}/*.yaml"):
        content = with_what_it_shares(path)
        target = get_object(content["_target_"])
        unsaid = accepted(target) - GIVEN.get(group, set()) - set(content) - OTHER_FILES
        assert not unsaid, f"{path.name} does not say {', '.join(sorted(unsaid))}"


@pytest.mark.parametrize("option", [p.stem for p in files("search/*.yaml")])
def test_every_search_can_be_rebuilt_from_a_bundle(option: str) -> None:
    search: Any = Search
    assert search in type(build(compose(f"search={option}")["search"], search, source=option)).__mro__


@pytest.mark.parametrize("key", ["hiden_size", "layers"])
def test_a_key_that_no_argument_has_would_be_found(key: str) -> None:
    config = compose()
    config["decoder"][key] = 3
    with pytest.raises(AssertionError, match=key):
        check(config, "train")


@pytest.mark.parametrize("option", [p.stem for p in files("encoder/*.yaml")])
def test_an_encoder_s_file_says_what_it_is(option: str) -> None:
    text = Path(CONF / "encoder" / f"{option}.yaml").read_text()
    assert text.startswith("# ")

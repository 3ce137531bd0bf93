"""captioning evaluate: score a bundle on a split as COCO does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from captioning.commands._bundles import load, trust_as_override
from captioning.errors import InputError, shown
from captioning.json_files import read_json
from captioning.metrics.table import BACKENDS, COCO_METRICS, METRICS, OWN_BACKEND

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioning.data.module import CaptionDataModule
    from captioning.data.readers import ParallelText
    from captioning.data.splits import Splits
    from captioning.model.image_model import ImageModel
    from captioning.reports.result import Result
    from captioning.reports.scores import ScoreResult
    from captioning.search.hypotheses import Search
    from captioning.text.tokenizer import Tokenizer
    from captioning.training.captioning import CaptioningModule
    from captioning.training.module import RunResult, TrainingModule

log = logging.getLogger(__name__)

HELP = """usage: captioning evaluate bundle=DIR data=NAME data.root=DIR [data.split=val] [KEY=VALUE ...]

Caption every image of a split with a bundle, and score the captions as COCO does (BLEU, METEOR, ROUGE-L, CIDEr).
Translations are scored by sacreBLEU, word detectors by average precision, and matchers by recall in both directions.
Scores are fractions: CIDEr 0.94, not 94. Writes metrics.json, captions.json, per_image.csv, page.html or per_word.csv.

examples:
  captioning evaluate bundle=runs/best/bundle data=flickr8k data.root=PATH data.split=test output=scores
  captioning evaluate bundle=DIR data=coco data.root=PATH            COCO 2014, Karpathy's split (dataset_coco.json)
  captioning evaluate bundle=DIR data=multi30k data.root=PATH data.source=en data.target=cs search.beam_size=10

settings:
  bundle=WHERE         a bundle, a run's folder or a checkpoint; [A,B]: an ensemble; --trust PACKAGE runs its code
  data=NAME            folder, flickr8k, flickr30k, coco, coco2014, coco2017, scenes; multi30k (data.source data.target)
  data.split=NAME      train, val or test; only this split's files are needed
  data.features=DIR    cached features instead of images; data.skip_broken=true leaves out images that cannot be read
  search.KEY=VALUE     an option of `captioning caption`, such as beam_size=10 or banned=[man,woman]
  search=NAME          greedy, beam, gnmt, diverse, constrained, stochastic, covering, sampling, minimum_bayes_risk
  retrieval=N          also retrieve images by their first N captions, and back; dtype=bfloat16: the decoder's precision
  dynamic=RATE         language models: also learn from each caption; data.objects=true: word detectors by objects' size
  pointing=true        matchers: how many words point into a box of what they name; beta=B: neighbours share regions
  metrics.names=[NAME] any of {metrics}
  metrics.backend=NAME {backends}
  output=DIR           the folder for the files; examples=N: how many images its page shows as a sample of the split
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP.format(metrics=", ".join(METRICS), backends=" or ".join(BACKENDS)), end="")
        return 0
    from captioning.commands._hydra import run

    return run("evaluate", evaluate, trust_as_override(arguments))


def evaluate(config: DictConfig, output: Path) -> None:
    """Score `config.bundle` on `config.data`, into `output`."""
    import pytorch_lightning as pl
    from hydra.utils import instantiate

    from captioning.data.module import CaptionDataModule
    from captioning.evaluation.dynamic import check_dynamic
    from captioning.model.captioner import Captioner
    from captioning.model.load import load_model
    from captioning.reports.scores import ScoreResult
    from captioning.training.assemble import open_data
    from captioning.training.captioning import CaptioningModule
    from captioning.training.devices import check_processes
    from captioning.training.signals import Signals
    from captioning.training.trainer import quieten_lightning

    bundles = models_of(config)
    model = load_model(bundles[0], trust=config.trust) if len(bundles) == 1 else load(bundles, "cpu", config.trust)
    check_pointing(model, config)
    if config.dynamic is not None:
        check_dynamic(model, config.dynamic)
        if config.dtype is not None:
            raise InputError(f"dynamic: {config.dtype} is too coarse for the steps of dynamic evaluation; remove dtype")
    if config.dtype is not None:
        if not isinstance(model, Captioner):
            raise InputError(f"dtype: {config.bundle} holds a {model.head_name}, which writes no captions; remove it")
        model.decode_in(str(config.dtype))
    if isinstance(model, Captioner):
        model.pack()
    splits, loading = open_data(config.data, reads=model.encoder.reads)
    module = validating(model, config, splits)
    data = CaptionDataModule(
        splits,
        loading,
        encoder=model.encoder,
        transform=model.transform,
        tokenizer=model.tokenizer,
        categories=getattr(model.head, "categories", None),
    )
    quieten_lightning()
    trainer: pl.Trainer = instantiate(config.trainer, callbacks=[Signals()])
    check_processes(trainer)
    trainer.validate(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        result: RunResult
        if isinstance(module, CaptioningModule):
            result = _write_captions(module, data, output, config)
        else:
            result = module.result(data)
            if config.pointing:
                result = _with_pointing(model, data, cast(ScoreResult, result), beta=config.beta)
            result.write(output)
        result.print()
        if isinstance(module, CaptioningModule) and module.evaluation is not None:
            print(f"the search took {module.evaluation.seconds:.1f} s, without encoder and scoring")
        print(f"written to {output}")


def models_of(config: DictConfig) -> list[str]:
    """Return where the models of `bundle=` are, which names one or, in a list, several.

    Raises:
        InputError: it is neither a path nor a list of paths.
    """
    from omegaconf import ListConfig

    named = list(config.bundle) if isinstance(config.bundle, ListConfig) else [config.bundle]
    if not named or not all(isinstance(where, str) for where in named):
        raise InputError(f"bundle={shown(config.bundle)}: expected the path of a model, or of several as [A,B]")
    return named


def check_pointing(model: ImageModel, config: DictConfig) -> None:
    """Check the settings of the pointing game, and let the data set read its objects for it.

    Raises:
        InputError: the model is no matcher, the data set has no boxes, or `beta` would change nothing.
    """
    if not config.pointing:
        if config.beta:
            raise InputError(f"beta={config.beta} belongs to pointing=true; add that, or remove beta")
        return
    if model.head_name != "matcher":
        raise InputError(f"pointing: {config.bundle} holds a {model.head_name}, and only a matcher aligns words")
    if "objects" not in config.data:
        raise InputError("pointing: this data set has no boxes; use data=scenes, coco, coco2014 or coco2017")
    config.data.objects = True


def _with_pointing(model: ImageModel, data: CaptionDataModule, result: ScoreResult, *, beta: float) -> ScoreResult:
    from captioning.evaluation.pointing import point
    from captioning.model.aligner import Aligner
    from captioning.reports.pointing import with_pointing

    return with_pointing(result, point(cast(Aligner, model), data, beta=beta))


def validating(model: ImageModel, config: DictConfig, splits: Splits) -> TrainingModule:
    """Build the module that validates a model.

    Raises:
        InputError: a setting is of captioners and the model is none, or a translator would read other languages.
    """
    from captioning.data.readers import ParallelText
    from captioning.model.captioner import Captioner
    from captioning.model.where import locate
    from captioning.training.captioning import CaptioningModule
    from captioning.training.detected import search_arguments
    from captioning.training.kinds import KINDS, scorer_of

    if not isinstance(model, Captioner):
        given = [key for key in ("search", "metrics") if any(value is not None for value in config[key].values())]
        if given:
            raise InputError(
                f"{given[0]}: {config.bundle} holds a {model.head_name}, which writes no captions; remove it"
            )
        ranked = {"captions_per_image": config.retrieval} if model.head_name == "matcher" and config.retrieval else {}
        return KINDS[model.head_name].module(model, **ranked)
    texts = isinstance(splits.reader, ParallelText)
    if isinstance(splits.reader, ParallelText):
        for bundle in models_of(config):
            check_languages(locate(Path(bundle)), splits.reader, translates=model.encoder.reads == "texts")
    return CaptioningModule(
        model,
        search=chosen_search(
            config.search, model.search, model.tokenizer, search_arguments(model.encoder, model.tokenizer)
        ),
        scorer=scorer_of(chosen_metrics(config.metrics, texts=texts)),
    )


def _write_captions(module: CaptioningModule, data: CaptionDataModule, output: Path, config: DictConfig) -> Result:
    """Write the result of captions, with retrieval and a page of examples."""
    from captioning.evaluation.calibration import describe_evaluation
    from captioning.evaluation.dynamic import evaluate_dynamically
    from captioning.evaluation.retrieval import retrieve
    from captioning.reports.page import write_page
    from captioning.reports.result import Result, seal, writing

    assert module.evaluation is not None
    captioner, retrieval, dynamic, examples = module.captioner, config.retrieval, config.dynamic, config.examples
    result = Result.of_evaluation(
        module.evaluation,
        data=data.splits.name,
        split=data.split,
        search=module.search,
        dtype="float32" if config.dtype is None else str(config.dtype),
        decoder=captioner.known_config["decoder"],
        dynamic=None if dynamic is None else evaluate_dynamically(captioner, data, learning_rate=dynamic),
        retrieval=retrieve(captioner, data, captions_per_image=retrieval) if retrieval else None,
        calibration=describe_evaluation(module.evaluation, captioner.confidences),
    )
    result.write(output)
    if examples:
        with writing(output):
            images = data.splits.images(data.split)
            write_page(output / "page.html", images, module.evaluation, result.content, examples=examples)
        seal(output)
    return result


def check_languages(bundle: Path, reader: ParallelText, *, translates: bool) -> None:
    """Check that a translator was trained on the data set's languages; for a language model, only log a difference.

    Args:
        bundle: the model's folder, whose metrics.json names the data set that it was trained on.
        reader: reads what it is scored on.
        translates: whether the model reads sentences.

    Raises:
        InputError: a translator was trained on other languages.
    """
    path = bundle / "metrics.json"
    match read_json(path) if path.is_file() else {}:
        case {"signature": {"data": str(trained)}} if not translates:
            if not trained.endswith(f"-{reader.target}"):
                log.warning("%s was trained on %s and is scored on %s", bundle, shown(trained), reader.name)
        case {"signature": {"data": str(trained)}}:
            if not trained.endswith(f"-{reader.source}-{reader.target}"):
                languages = trained.split("-")[-2:]
                raise InputError(
                    f"{bundle} was trained on {shown(trained)} and would translate {reader.name}; set "
                    f"data.source={shown(languages[0], 20)} data.target={shown(languages[-1], 20)}"
                )
        case _:
            log.warning("%s does not name its training languages; it is scored on %s", bundle, reader.name)


def chosen_metrics(config: DictConfig, *, texts: bool) -> DictConfig:
    """Return the configured metrics; by default sacreBLEU for translations, and COCO's otherwise."""
    from omegaconf import OmegaConf

    backend = OWN_BACKEND if config.backend is None else config.backend
    default = ["sacreBLEU"] if texts and backend != "pycocoevalcap" else list(COCO_METRICS)
    return OmegaConf.create({"backend": backend, "names": default if config.names is None else config.names})


def chosen_search(config: DictConfig, own: Search, tokenizer: Tokenizer, words: Mapping[str, Any]) -> Search:
    """Return the configured search, or the bundle's with the configured settings.

    Args:
        config: the group `search`.
        own: the bundle's search.
        tokenizer: the bundle's, for settings that name words.
        words: what a search can be told of the model; see `captioning.training.detected.search_arguments`.

    Raises:
        InputError: a setting does not fit the search or another setting.
    """
    from omegaconf import DictConfig, OmegaConf

    from captioning.search.length_rules import LengthRule
    from captioning.search.names import as_setting
    from captioning.search.options import OPTIONS, check_kind, with_options
    from captioning.training.parts import build

    given = {str(key): value for key, value in config.items() if value is not None}
    if "_target_" in given:
        own = build_search(config, words)
        taken = own.settings().keys() - ({"required"} if _names_words(config) else set())
        given = {name: value for name, value in given.items() if name in OPTIONS and name not in taken}
        check_kind(own, given, as_setting)
    elif "processors" in given:
        raise InputError(
            "search.processors is a setting of a search that is named: add search=beam, for example; or use options, "
            "such as search.no_repeat_ngram=3"
        )
    elif "frequencies" in given:
        own = with_frequencies(own, str(given.pop("frequencies")))
    rules = {key: build(value, LengthRule) for key, value in given.items() if isinstance(value, DictConfig)}  # type: ignore[type-abstract]
    others = OmegaConf.create({key: value for key, value in given.items() if key not in rules})
    plain: dict[str, Any] = OmegaConf.to_container(others, resolve=True)  # type: ignore[assignment]
    return with_options(own, tokenizer, as_setting, **plain, **rules)


def _names_words(config: DictConfig) -> bool:
    """Return whether the required words are words; a search itself has their tokens' ids."""
    return any(isinstance(word, str) for word in config.get("required") or ())


def build_search(config: DictConfig, words: Mapping[str, Any]) -> Search:
    """Build the search that the group `search` names, without the options that its class does not have.

    Args:
        config: the group.
        words: see `chosen_search`.

    Raises:
        InputError: the search cannot be built from these settings.
    """
    from inspect import signature

    from omegaconf import OmegaConf

    from captioning.search.hypotheses import Search
    from captioning.search.options import OPTIONS
    from captioning.training.assemble import arguments_of
    from captioning.training.parts import build, find

    taken = signature(find(config)).parameters
    own = {key: value for key, value in config.items() if value is not None and (key in taken or key not in OPTIONS)}
    if _names_words(config):
        own.pop("required", None)
    file = own.pop("frequencies", None)
    settings = OmegaConf.create(own)
    search: Search = build(settings, Search, **arguments_of(settings, words))  # type: ignore[type-abstract]
    return search if file is None else with_frequencies(search, str(file))


def with_frequencies(search: Search, file: str) -> Search:
    """Give a search document frequencies that `captioning score --save-document-frequencies FILE` wrote.

    Raises:
        InputError: the search compares no captions, or the file cannot be read.
    """
    from captioning.metrics.document_frequencies import DocumentFrequencies
    from captioning.search import MinimumBayesRisk

    if not isinstance(search, MinimumBayesRisk):
        raise InputError(
            f"search.frequencies: {type(search).__name__} compares no captions; add search=minimum_bayes_risk, or "
            "leave it out"
        )
    found = DocumentFrequencies.load(file)
    return replace(search, frequencies=found.counts, num_images=found.num_images)

"""captioning evaluate: score a bundle on a split as COCO does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.errors import InputError
from captioning.json_files import read_json
from captioning.metrics.table import BACKENDS, COCO_METRICS, METRICS, OWN_BACKEND

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioning.data.datasets import ParallelTextDataModule
    from captioning.search.hypotheses import Search

log = logging.getLogger(__name__)

HELP = """usage: captioning evaluate bundle=DIR data=NAME data.root=DIR [data.split=val] [KEY=VALUE ...]

Caption every image of a split with a bundle and score the captions as COCO does (BLEU, METEOR, ROUGE-L, CIDEr), or
translate every sentence and score by sacreBLEU. Writes metrics.json, captions.json (COCO's results format),
per_image.csv and page.html into `output`.

examples:
  captioning evaluate bundle=runs/best/bundle data=flickr8k data.root=PATH data.split=test output=scores
  captioning evaluate bundle=DIR data=coco data.root=PATH            COCO 2014, Karpathy's split (dataset_coco.json)
  captioning evaluate bundle=DIR data=multi30k data.root=PATH data.source=en data.target=cs search.beam_size=10

settings:
  bundle=DIR           the trained model (required)
  data=NAME            flickr8k, flickr30k, coco, coco2014, coco2017, scenes; multi30k, with data.source and data.target
  data.split=NAME      train, val or test; only this split's files are needed
  data.features=DIR    cached features of `captioning extract`, instead of images
  search.KEY=VALUE     beam_size, max_length, length_normalization, allow_unknown; the rest as the bundle says
  search=NAME          greedy, beam or sampling, with nothing of the bundle's search
  retrieval=N          also find images by their first N captions, and captions by images; slow
  metrics.names=[NAME] of {metrics}
  metrics.backend=NAME {backends}
  output=DIR           where the files go; examples=N images on the page

Scores are fractions: CIDEr 0.94, not 94.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP.format(metrics=", ".join(METRICS), backends=" or ".join(BACKENDS)), end="")
        return 0
    from captioning.commands._hydra import run

    return run("evaluate", evaluate, arguments)


def evaluate(config: DictConfig, output: Path) -> None:
    """Score `config.bundle` on `config.data`, into `output`."""
    import pytorch_lightning as pl
    from hydra.utils import instantiate

    from captioning.data.datasets import ParallelTextDataModule
    from captioning.evaluation.retrieval import retrieve
    from captioning.model.bundle import load_bundle
    from captioning.reports.result import print_scores, write_evaluation
    from captioning.training.run import quieten_lightning, scorer_of

    captioner = load_bundle(config.bundle)
    data = instantiate(config.data)
    texts = isinstance(data, ParallelTextDataModule)
    if texts:
        check_languages(Path(config.bundle), data, translates=captioner.encoder.reads == "texts")
    captioner.scorer = scorer_of(chosen_metrics(config.metrics, texts=texts))
    captioner.search = chosen_search(config.search, captioner.search)
    data.connect(captioner.encoder, captioner.tokenizer, getattr(captioner.decoder, "categories", None))
    quieten_lightning()
    trainer: pl.Trainer = instantiate(config.trainer)
    trainer.validate(captioner, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        found = retrieve(captioner, data, captions_per_image=config.retrieval) if config.retrieval else None
        metrics = write_evaluation(output, captioner, data, examples=config.examples, retrieval=found)
        print_scores(metrics)
        print(f"written to {output}")


def check_languages(bundle: Path, data: ParallelTextDataModule, *, translates: bool) -> None:
    """Refuse languages that a translator did not learn; log those of another model, and where a bundle cannot tell.

    Args:
        bundle: the model's folder, in which `metrics.json` names what it was trained on.
        data: what it is to be scored on.
        translates: whether the model reads sentences; one that does not is a language model, or needs images.

    Raises:
        InputError: the data's languages are others than those that a translator was trained on.
    """
    path = bundle / "metrics.json"
    match read_json(path) if path.is_file() else {}:
        case {"signature": {"data": str(trained)}} if not translates:
            if not trained.endswith(f"-{data.target}"):
                log.warning("%s was trained on %s, and is scored on %s", bundle, trained, data.data_name)
        case {"signature": {"data": str(trained)}}:
            if not trained.endswith(f"-{data.source}-{data.target}"):
                languages = trained.split("-")[-2:]
                raise InputError(
                    f"{bundle} was trained on {trained} and would translate {data.data_name}; set "
                    f"data.source={languages[0]} data.target={languages[-1]}"
                )
        case _:
            log.warning("%s does not say which languages it learned; it is given %s", bundle, data.data_name)


def chosen_metrics(config: DictConfig, *, texts: bool) -> DictConfig:
    """Choose the metrics that are named, else sacreBLEU for texts by this package's code, and COCO's otherwise."""
    from omegaconf import OmegaConf

    backend = OWN_BACKEND if config.backend is None else config.backend
    default = ["sacreBLEU"] if texts and backend == OWN_BACKEND else list(COCO_METRICS)
    return OmegaConf.create({"backend": backend, "names": default if config.names is None else config.names})


def chosen_search(config: DictConfig, own: Search) -> Search:
    """The search that is named, or the bundle's own with the settings that are given.

    Raises:
        InputError: the bundle's search has no such setting.
    """
    from hydra.utils import instantiate

    given = {str(key): value for key, value in config.items() if value is not None}
    if "_target_" in given:
        search: Search = instantiate(given)
        return search
    settings = vars(own)
    if unknown := given.keys() - settings.keys():
        raise InputError(
            f"search.{min(unknown)}: the bundle decodes by {type(own).__name__}, which has "
            f"{', '.join(settings)}; choose another with search=NAME"
        )
    return type(own)(**{**settings, **given})

"""captioning evaluate: score a bundle on a split as COCO does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

HELP = """usage: captioning evaluate bundle=DIR data=NAME data.root=DIR [data.split=val] [KEY=VALUE ...]

Caption every picture of a split with a bundle, score the captions as COCO does (BLEU, METEOR, ROUGE-L, CIDEr), and
write metrics.json, captions.json (COCO's results format), per_image.csv and page.html into `output`.

examples:
  captioning evaluate bundle=runs/best/bundle data=flickr8k data.root=PATH data.split=test output=scores
  captioning evaluate bundle=DIR data=coco data.root=PATH            COCO 2014, Karpathy's split (dataset_coco.json)
  captioning evaluate bundle=DIR data=coco2017 data.root=PATH        COCO 2017, the official val
  captioning evaluate bundle=DIR data=coco2017 data.root=PATH search=beam search.beam_size=10

settings:
  bundle=DIR           the trained model (required)
  data=NAME            flickr8k, flickr30k, coco, coco2014, coco2017, scenes
  data.split=NAME      train, val or test; only this split's files are needed
  data.features=DIR    cached features of `captioning extract`, instead of pictures
  search=NAME          greedy or beam; null (the default) decodes as the bundle says
  examples=N           pictures on the page
  output=DIR           where the files go

Figures are fractions: CIDEr 0.94, not 94.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from captioning.commands.configured import run

    return run("evaluate", evaluate, arguments)


def evaluate(config: DictConfig, output: Path) -> None:
    """Score `config.bundle` on `config.data`, into `output`."""
    import pytorch_lightning as pl
    from hydra.utils import instantiate

    from captioning.bundle import load_bundle
    from captioning.reports import print_scores, write_evaluation
    from captioning.training import quieten_lightning

    captioner = load_bundle(config.bundle)
    if config.search is not None:
        captioner.search = instantiate(config.search)
    data = instantiate(config.data)
    data.connect(captioner.encoder, captioner.tokenizer, getattr(captioner.decoder, "categories", None))
    quieten_lightning()
    trainer: pl.Trainer = instantiate(config.trainer)
    trainer.validate(captioner, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        metrics = write_evaluation(output, captioner, data, examples=config.examples)
        print_scores(metrics)
        print(f"written to {output}")

"""captioning calibrate: learn on held-out images when a captioner can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.commands._bundles import load_as, trust_as_override
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioning.encoders.features import ImageFeatures
    from captioning.model.captioner import Captioner
    from captioning.model.confidences import Correctness

HELP = """usage: captioning calibrate bundle=WHERE data=NAME data.root=DIR [data.split=val] [KEY=VALUE ...]

Fit, on one half of a split, the probability that a caption is right and that a word is in a reference, and report on
the other half how far they can be trusted. Writes a bundle with these confidences, calibration.json and page.html.
The model that is calibrated stays as it was.

examples:
  captioning calibrate bundle=runs/best data=flickr8k data.root=PATH data.features=FEATURES output=calibrated
  captioning caption photo.jpg --model calibrated --coverage 0.7

settings:
  bundle=WHERE            a captioner (required): a bundle, a run or a checkpoint; --trust PACKAGE runs its code
  data=..., data.split=val   as for `captioning evaluate`; the training images are read too
  correct.metric=CIDEr    any metric with one score; a caption is right from correct.threshold=X, by default the score
                          that nine of ten of people's captions reach
  risk=R                  also choose --min-confidence, so that at most this share of images gets a wrong caption
  outside=[PATH,...]      images of another kind: how well their distance tells them apart
  rank=64                 directions of the covariance of the training images' features
  device=cuda             by default cuda if there is a GPU, else cpu
  output=DIR              the folder for the files
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from captioning.commands._hydra import run

    return run("calibrate", calibrate, trust_as_override(arguments))


def calibrate(config: DictConfig, output: Path) -> None:
    """Calibrate `config.bundle` on `config.data`, into `output`."""
    import numpy as np
    import torch

    from captioning.data.module import CaptionDataModule
    from captioning.evaluation import calibration as calibrating
    from captioning.files.atomic import write_json
    from captioning.model.captioner import Captioner
    from captioning.model.confidences import described
    from captioning.reports.calibration import print_report, write_calibration
    from captioning.training.assemble import open_data
    from captioning.training.run import examples

    if not isinstance(config.bundle, str):
        raise InputError(f"bundle={shown(config.bundle)}: expected one model; make one of several: captioning ensemble")
    target = output / "bundle"
    if target.exists():
        raise InputError(f"{target} exists already; choose another folder with output=DIR")
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    captioner = load_as(Captioner, config.bundle, device, config.trust, option="device=").pack()
    splits, loading = open_data(config.data, reads=captioner.encoder.reads)
    data = CaptionDataModule(
        splits,
        loading,
        encoder=captioner.encoder,
        transform=captioner.transform,
        tokenizer=captioner.tokenizer,
        categories=getattr(captioner.decoder, "categories", None),
    )
    calibrating.check(captioner, data)
    references = splits.references(data.split)
    correctness = _correctness(config, references)
    elsewhere = None if config.outside is None else _elsewhere(captioner, config.outside)

    training = calibrating.training_images(captioner, data, rank=config.rank)
    observed = calibrating.observe(captioner, data, training)
    scores = calibrating.scores_of({own.image_id: own.caption for own in observed}, references, correctness.metric)
    right = np.array([scores[own.image_id] >= correctness.threshold for own in observed])
    fitted, reported = calibrating.split_in_halves(observed)
    confidences = calibrating.fit(
        [observed[row] for row in fitted],
        right[fitted],
        training,
        correctness,
        {"data": splits.name, "split": data.split, "num_images": len(fitted)},
    )
    held_out = [observed[row] for row in reported]
    content = {
        **described(confidences),
        **calibrating.report(confidences, held_out, right[reported], risk=config.risk),
    }
    if elsewhere is not None:
        content["out_of_domain"] |= calibrating.outside(confidences, held_out, elsewhere)
    captioner.confidences = confidences
    captioner.save(target, metrics=_metrics(config.bundle), examples=examples(captioner, data))
    write_json(output / "calibration.json", content)
    write_calibration(output / "page.html", content)
    print_report(content)
    print(f"written to {output}; use it with --model {output}")


def _correctness(config: DictConfig, references: Any) -> Correctness:
    """Return what a right caption is.

    Raises:
        InputError: the metric cannot be computed, or people's captions have no score.
    """
    from captioning.evaluation.calibration import score_of_people
    from captioning.metrics.table import check_metrics
    from captioning.model.confidences import Correctness

    metric, threshold = str(config.correct.metric), config.correct.threshold
    check_metrics([metric])
    return Correctness(metric, score_of_people(references, metric) if threshold is None else float(threshold))


def _metrics(where: str) -> dict[str, Any]:
    """Return what the model's bundle says that it scored; nothing of a checkpoint."""
    from captioning.json_files import read_json
    from captioning.model.where import locate

    path = locate(Path(where)) / "metrics.json"
    return read_json(path) if path.is_file() else {}


def _elsewhere(captioner: Captioner, outside: Any) -> Iterator[ImageFeatures]:
    """Encode images of another kind, in batches.

    Raises:
        InputError: there is no such image. Images that cannot be read are reported and left out.
    """
    from omegaconf import ListConfig

    from captioning.commands._images import batches, find

    paths, _ = find([str(path) for path in outside] if isinstance(outside, ListConfig) else [str(outside)], "calibrate")
    if not paths:
        raise InputError("outside: there is no image; give files, folders or globs as outside=[PATH,...]")
    return (
        captioner.encode(images) for _, images, _ in batches(captioner, paths, 32, "calibrate") if images is not None
    )

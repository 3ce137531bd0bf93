"""The result of an evaluation: its files, and the table that people read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from captioning.errors import InputError, shown
from captioning.files.atomic import remove_unfinished, write_json
from captioning.files.digests import DIGESTS, write_digests
from captioning.metrics import Interval, Scores, compare, intervals, signature_line
from captioning.metrics.diversity import summary
from captioning.metrics.files import ImageId
from captioning.metrics.signature import split_signature
from captioning.metrics.statistics_file import save_statistics
from captioning.reports.calibration import print_confidence, print_domain
from captioning.reports.score_table import table
from captioning.reports.tables import console, write_table

if TYPE_CHECKING:
    from captioning.evaluation.predictions import Evaluation
    from captioning.search.hypotheses import Search

RESULT_FILES = (
    "metrics.json",
    "captions.json",
    "per_image.csv",
    "statistics.safetensors",
    "training.json",
    "page.html",
)
"""The files of a result, whose digests stand in its folder's SHA256SUMS."""

BOOTSTRAP: dict[str, Any] = {"num_replicates": 1000, "seed": 0, "confidence": 0.95}
"""The default arguments of `captioning.metrics.intervals`."""


@dataclass(frozen=True)
class Result:
    """The scores of one caption per image, and what determines them.

    Attributes:
        scores: of the captions.
        captions: by image id, as they were written, in the order of the split.
        signature: what determines the scores: data set, split, `CocoScorer.signature`, search.
        columns: further values of each image for per_image.csv, in the order of `captions`.
        language_model: loss, perplexity and the like; empty without a model.
        unfinished: how many captions were truncated at the maximum length; None without a model.
        dynamic: as `captioning.evaluation.dynamic.evaluate_dynamically` returns it; None if it was not measured.
        retrieval: as `captioning.evaluation.retrieval.retrieve` returns it; None if it was not measured.
        alternatives: the search's several captions of each image, described; empty if it finds one.
        calibration: how far the captions' confidences can be trusted; None of a model that is not calibrated.
        compared_with: the name and the scores of other captions of the same images; None if there are none.
        bootstrap: the arguments of `captioning.metrics.intervals`.
    """

    scores: Scores
    captions: Mapping[ImageId, str]
    signature: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    language_model: Mapping[str, float] = field(default_factory=dict)
    unfinished: int | None = None
    dynamic: Mapping[str, float] | None = None
    retrieval: Mapping[str, Any] | None = None
    alternatives: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    compared_with: tuple[str, Scores] | None = None
    bootstrap: Mapping[str, Any] = field(default_factory=lambda: BOOTSTRAP)

    @classmethod
    def of_evaluation(
        cls,
        evaluation: Evaluation,
        *,
        data: str,
        split: str,
        search: Search,
        dtype: str = "float32",
        decoder: Mapping[str, Any] | None = None,
        dynamic: Mapping[str, float] | None = None,
        retrieval: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
    ) -> Self:
        """Collect the result of a model.

        Args:
            evaluation: of all images of the split.
            data: the name of the data set.
            split: the name of the split.
            search: the search that produced the captions.
            dtype: the precision of the decoder; the signature has it if it is not float32.
            decoder: the plain values of the decoder; the signature describes one that consists of others.
            dynamic: as `captioning.evaluation.dynamic.evaluate_dynamically` returns it.
            retrieval: as `captioning.evaluation.retrieval.retrieve` returns it.
            calibration: as `captioning.evaluation.calibration.describe_evaluation` returns it.
        """
        described = None if decoder is None else describe_decoder(decoder)
        return cls(
            scores=evaluation.scores,
            captions={p.image_id: p.caption for p in evaluation.predictions},
            signature={
                "data": data,
                "split": split,
                **evaluation.signature,
                "search": describe(search),
                **({} if dtype == "float32" else {"dtype": dtype}),
                **({"decoder": described} if isinstance(described, dict) else {}),
            },
            columns={
                "log_probability": [p.score for p in evaluation.predictions],
                "finished": [p.finished for p in evaluation.predictions],
                **_judged(evaluation),
            },
            language_model={
                "loss": evaluation.loss,
                "perplexity": evaluation.perplexity,
                "bits_per_character": evaluation.bits_per_character,
                "unknown_share": evaluation.unknown_share,
                "tokens_per_caption": evaluation.tokens_per_caption,
            },
            unfinished=evaluation.num_unfinished,
            dynamic=dynamic,
            retrieval=retrieval,
            alternatives=evaluation.alternatives,
            calibration=calibration,
        )

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The bootstrap confidence interval of each score; empty if the backend keeps no statistics."""
        return intervals(self.scores, **self.bootstrap)

    @cached_property
    def content(self) -> dict[str, Any]:
        """What metrics.json holds: scores as fractions with their intervals, and what determines them."""
        unfinished = {} if self.unfinished is None else {"unfinished": self.unfinished}
        return {
            "metrics": self.scores.corpus,
            "intervals": {name: [interval.low, interval.high] for name, interval in self.intervals.items()},
            **({"language_model": self.language_model} if self.language_model else {}),
            "captions": {**unfinished, **summary(list(self.scores.tokenized.values()))},
            **({"alternatives": self.alternatives} if self.alternatives else {}),
            **({} if self.dynamic is None else {"dynamic": self.dynamic}),
            **({} if self.retrieval is None else {"retrieval": self.retrieval}),
            **({} if self.calibration is None else {"calibration": self.calibration}),
            "signature": {**self.signature, **({"bootstrap": self.bootstrap} if self.intervals else {})},
            **({} if self.compared_with is None else {"comparison": self._comparison(*self.compared_with)}),
        }

    def _comparison(self, name: str, others: Scores) -> dict[str, Any]:
        differences = compare(self.scores, others, **self.bootstrap) if self.scores.statistics else {}
        return {
            "with": name,
            "metrics": others.corpus,
            "differences": {score: vars(found) for score, found in differences.items()},
        }

    def write(self, folder: Path, *, training: Mapping[str, float | str] | None = None) -> None:
        """Write metrics.json, captions.json, per_image.csv, statistics.safetensors, and at last their digests.

        Args:
            folder: created if it does not exist.
            training: the time, precision and numbers of parameters of a training run, for training.json. That is a
                separate file, because times differ between runs that are otherwise equal.

        Raises:
            InputError: a file cannot be written.
        """
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)  # of an earlier process that was killed
            (folder / DIGESTS).unlink(missing_ok=True)
            self.write_json(folder / "metrics.json")
            captions = [{"image_id": image_id, "caption": caption} for image_id, caption in self.captions.items()]
            write_json(folder / "captions.json", captions)
            self.write_per_image(folder / "per_image.csv")
            references = str(self.signature.get("references", ""))
            save_statistics(folder / "statistics.safetensors", self.scores, references)
            if training is not None:
                write_json(folder / "training.json", training)
            seal(folder, RESULT_FILES if training is not None else set(RESULT_FILES) - {"training.json"})

    def write_json(self, path: Path) -> None:
        """Write `content` as JSON.

        Raises:
            InputError: the file cannot be written.
        """
        write_json(path, self.content)

    def write_per_image(self, path: Path) -> None:
        """Write the caption, the `columns` and the scores of each image as CSV.

        Raises:
            InputError: the file cannot be written.
        """
        further = zip(*self.columns.values(), strict=True) if self.columns else ((),) * len(self.captions)
        names, per_image = list(self.scores.corpus), self.scores.per_image
        rows = [
            [image_id, caption, *values, *(per_image[image_id][name] for name in names)]
            for (image_id, caption), values in zip(self.captions.items(), further, strict=True)
        ]
        write_table(path, ["image_id", "caption", *self.columns, *names], rows)

    def print(self, *, title: str | None = None, signature: bool = False) -> None:
        """Print the scores as a table, see `print_scores`."""
        print_scores(self.content, title=title, signature=signature)


def _judged(evaluation: Evaluation) -> dict[str, Sequence[Any]]:
    """Return the columns of captions that have been judged."""
    if any(p.confidence is None for p in evaluation.predictions):
        return {}
    return {name: [getattr(p, name) for p in evaluation.predictions] for name in ("confidence", "distance")}


def seal(folder: Path, names: Collection[str] = RESULT_FILES) -> None:
    """Write the digests of a result's files, of those that exist.

    Raises:
        InputError: the digests cannot be written.
    """
    write_digests(folder, [name for name in names if (folder / name).is_file()])


def print_scores(content: Mapping[str, Any], *, title: str | None = None, signature: bool = False) -> None:
    """Print a result as a table, a row per score.

    Args:
        content: as `Result.content`.
        title: printed above the table; by default, data set and split.
        signature: whether to print the signature too, in one line to be quoted.
    """
    signed = content["signature"]
    title = f"{signed['data']} {signed['split']}" if title is None else title
    console().print(f"{shown(title, 300)}, {signed['num_images']} images (fractions)", soft_wrap=True)
    console().print(table(content))
    if not content["intervals"]:
        reason = "there is one image" if signed["num_images"] == 1 else "this backend keeps no statistics"
        console().print(f"no intervals and no p-values: {reason}")
    if model := content.get("language_model"):
        console().print(f"perplexity {model['perplexity']:.2f}, {model['bits_per_character']:.3f} bits per character")
    if dynamic := content.get("dynamic"):
        console().print(
            f"dynamic evaluation (learning rate {dynamic['learning_rate']:g}): perplexity {dynamic['perplexity']:.2f}, "
            f"{dynamic['bits_per_character']:.3f} bits per character"
        )
    if several := content.get("alternatives"):
        console().print(f"captions of an image: {', '.join(f'{name} {value:.4g}' for name, value in several.items())}")
    for direction in ("text_to_image", "image_to_text"):
        if ranks := content.get("retrieval", {}).get(direction):
            console().print(f"{direction}: {', '.join(f'{name} {value:.3g}' for name, value in ranks.items())}")
    if calibration := content.get("calibration"):
        print_confidence(calibration)
        print_domain(calibration["out_of_domain"])
    own, others = split_signature(signed)
    for line in [*([signature_line(own)] if signature else []), *others]:
        console().print(shown(line, 2000), soft_wrap=True, highlight=False, emoji=False)


def describe(search: Search) -> dict[str, Any]:
    """Describe a search by its name and its settings as plain values, all of which affect scores."""
    return {"name": type(search).__name__, **_described(search.settings()), "processors": _described(search.processors)}


def _described(value: Any) -> Any:
    """Describe a setting: a part by its name and its own settings, in lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: _described(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_described(own) for own in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value):
        return repr(value)
    settings = ", ".join(f"{name}={own!r:.200}" for name, own in getattr(value, "__dict__", {}).items())
    return f"{type(value).__name__}({settings})" if settings else type(value).__name__


def describe_decoder(values: Mapping[str, Any]) -> str | dict[str, Any]:
    """Describe a decoder by its name, and one that consists of others also by these and by its settings.

    Args:
        values: the plain values of the decoder, as a bundle's config.json has them.
    """
    name = str(values["_target_"]).rpartition(".")[2]
    if name in ("Member", "WithoutImage"):
        return describe_decoder(values["decoder"])
    if not {"members", "decoder"} & values.keys():
        return name
    return {"name": name, **{key: _inside(value) for key, value in values.items() if key != "_target_"}}


def _inside(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_inside(own) for own in value]
    if not isinstance(value, Mapping):
        return value
    return value["num_images"] if "num_images" in value else describe_decoder(value)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an OSError while the folder of an evaluation is made into an InputError that names the folder."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the evaluation could not be written to {shown(folder, 300)}: {error.strerror or error}"
        ) from error

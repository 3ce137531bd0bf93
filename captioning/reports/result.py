"""The files of an evaluation, and the tables that people read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from captioning.data.module import CaptionDataModule
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation
from captioning.metrics import intervals
from captioning.metrics.diversity import summary
from captioning.metrics.statistics_file import save_statistics
from captioning.reports.page import write_page
from captioning.reports.tables import console, write_table
from captioning.search.hypotheses import Search

BOOTSTRAP: dict[str, Any] = {"num_replicates": 1000, "seed": 0, "confidence": 0.95}  # of the intervals


def write_evaluation(
    output: Path,
    module: Any,
    data: CaptionDataModule,
    *,
    examples: int = 0,
    retrieval: Mapping[str, Any] | None = None,
    training: Mapping[str, float | str] | None = None,
) -> dict[str, Any]:
    """Write metrics.json, captions.json, per_image.csv, statistics.safetensors and, with examples, page.html.

    Args:
        output: the folder; made where it is missing.
        module: has just validated on `data.split`.
        data: the data module it validated on.
        examples: images on the page, evenly spread over the split; 0 for no page.
        retrieval: what `captioning.evaluation.retrieval.retrieve` found, to be written too.
        training: what it cost to learn, for training.json; apart, for no second run is as fast to the bit.

    Returns:
        What metrics.json holds: "metrics" as fractions, their "intervals", "language_model",
        "captions", "retrieval" where it is given, and "signature".

    Raises:
        InputError: a file cannot be written.
    """
    evaluation = module.evaluation
    assert evaluation is not None
    found = intervals(evaluation.scores, **BOOTSTRAP)
    metrics: dict[str, Any] = {
        "metrics": evaluation.scores.corpus,
        "intervals": {name: [interval.low, interval.high] for name, interval in found.items()},
        "language_model": {
            "loss": evaluation.loss,
            "perplexity": evaluation.perplexity,
            "bits_per_character": evaluation.bits_per_character,
            "unknown_share": evaluation.unknown_share,
            "tokens_per_caption": evaluation.tokens_per_caption,
        },
        "captions": {"unfinished": evaluation.num_unfinished, **summary(list(evaluation.scores.tokenized.values()))},
        **({} if retrieval is None else {"retrieval": retrieval}),
        "signature": {
            "data": data.splits.name,
            "split": data.split,
            **evaluation.signature,
            "search": describe(module.search),
            **({"bootstrap": BOOTSTRAP} if found else {}),
        },
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write_json(output / "metrics.json", metrics)
        results = [{"image_id": p.image_id, "caption": p.caption} for p in evaluation.predictions]
        _write_json(output / "captions.json", results)
        _write_per_image(output / "per_image.csv", evaluation)
        references = str(evaluation.signature.get("references", ""))
        save_statistics(output / "statistics.safetensors", evaluation.scores, references)
        if training is not None:
            _write_json(output / "training.json", training)
        if examples:
            write_page(output / "page.html", data.splits.images(data.split), evaluation, metrics, examples=examples)
    except OSError as error:
        raise InputError(f"the evaluation could not be written to {output}: {error.strerror or error}") from error
    return metrics


def describe(search: Search) -> dict[str, Any]:
    """A search's settings as plain values: all that moves a score."""
    processors = [type(processor).__name__ for processor in search.processors]
    return {"name": type(search).__name__, **search.settings(), "processors": processors}


def print_scores(metrics: Mapping[str, Any]) -> None:
    """Print the metrics of one evaluation as a table, and below it how well the references were expected."""
    signed = metrics["signature"]
    table = Table()
    for name in metrics["metrics"]:
        table.add_column(name, justify="right")
    table.add_row(*(f"{value:.4f}" for value in metrics["metrics"].values()))
    console().print(f"{signed['data']} {signed['split']}, {signed['num_images']} images (fractions)")
    console().print(table)
    model = metrics["language_model"]
    console().print(f"perplexity {model['perplexity']:.2f}, {model['bits_per_character']:.3f} bits per character")
    if "sacrebleu" in signed:
        console().print(f"sacreBLEU|{signed['sacrebleu']}", soft_wrap=True, highlight=False)  # one line, to be quoted
    for direction in ("text_to_image", "image_to_text"):
        if figures := metrics.get("retrieval", {}).get(direction):
            console().print(f"{direction}: {', '.join(f'{name} {value:.3g}' for name, value in figures.items())}")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_per_image(path: Path, evaluation: Evaluation) -> None:
    per_image = evaluation.scores.per_image
    names = list(evaluation.scores.corpus)
    rows = [
        [p.image_id, p.caption, p.score, p.finished, *(per_image[p.image_id][name] for name in names)]
        for p in evaluation.predictions
    ]
    write_table(path, ["image_id", "caption", "log_probability", "finished", *names], rows)

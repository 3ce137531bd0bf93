"""The model card: a bundle's README.md, whose front matter the Hugging Face hub reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from captioning.encoders.text import TextEncoder
from captioning.model.safe_build import packages


def model_card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Write the model card.

    Args:
        config: content of config.json.
        metrics: content of metrics.json; without scores, the card has none.
    """
    head = next(name for name in ("decoder", "detector", "matcher") if config.get(name))

    def short(part: str) -> str:
        return _short(config[part])

    encoder = config["encoder"].get("model")
    first = config["encoder"].get("encoders", [config["encoder"]])[0]  # of an ensemble's encoders
    kind, name, use, note = _described(head, translates=_short(first) == TextEncoder.__name__)
    foreign = sorted(packages(config))
    trust = f", trust={json.dumps(foreign)}" if foreign else ""
    members = ", ".join(_short(member.get("decoder", member)) for member in config[head].get("members", ()))
    members = f" Members: {members}." if members else ""
    contrasted = f" Contrasts: {_short(config[head]['decoder'])}." if "decoder" in config[head] else ""
    title = f"{short(head)} on {short('encoder')}" + (f" ({encoder})" if encoder else "")
    lines = [
        *("---", _front_matter(kind, title, metrics), "---", ""),
        f"# {title}",
        "",
        f"{kind}, made with captioning {config['captioning_version']}.{members}{contrasted}",
        "",
        "```python",
        f"from captioning import {name}",
        "",
        f'model = {name}.from_pretrained("PATH/OF/THIS/FOLDER"{trust})',
        f"print({use})",
        "```",
        "",
        (f"Decoded by {short('search')}. " if head == "decoder" else "") + note,
    ]
    if "metrics" in metrics:
        signature = metrics.get("signature", {})
        where = f"{signature.get('data', '?')} {signature.get('split', '?')}, {signature.get('num_images', '?')} images"
        lines += ["", f"Scores on {where} (fractions):", "", "| metric | value |", "| --- | --- |"]
        lines += [f"| {name} | {value:.4f} |" for name, value in metrics["metrics"].items()]
    return "\n".join(lines) + "\n"


def _front_matter(kind: str, title: str, metrics: Mapping[str, Any]) -> str:
    """Describe the model and its scores as YAML, in the hub's form."""
    from huggingface_hub import EvalResult, ModelCardData  # takes a tenth of a second to import

    signature, task = metrics.get("signature", {}), _TASKS.get(kind)
    data = str(signature.get("data", "unknown"))
    results = [
        EvalResult(task or "other", data, data, name, round(value, 4), dataset_split=signature.get("split"))
        for name, value in metrics.get("metrics", {}).items()
        if math.isfinite(value)
    ]
    tags = ["image-captioning"] if kind == "A captioner" else None
    name, found = (title, results) if results else (None, None)
    described = ModelCardData(
        library_name="captioning", pipeline_tag=task, tags=tags, model_name=name, eval_results=found
    )
    return str(described.to_yaml())


_TASKS = {"A captioner": "image-to-text", "A translator": "translation"}
"""The hub's names of what kinds of models do."""


def _short(part: Mapping[str, Any]) -> str:
    return str(part["_target_"]).rpartition(".")[2]


def _described(head: str, *, translates: bool) -> tuple[str, str, str, str]:
    """Say what a model is, the class that loads it, how it is used, and how far to trust it."""
    wrong = "It can be wrong about its input, and it repeats the way in which the training captions describe people."
    if head == "detector":
        use = 'model.concepts("image.jpg")'
        return "A word detector", "ConceptDetector", use, f"It finds words that describe an image. {wrong}"
    if head == "matcher":
        use = 'model.align("image.jpg", "A sentence.")'
        return "A matcher of images and sentences", "Aligner", use, f"It places words on regions of an image. {wrong}"
    use = 'model.translate("A sentence.").text' if translates else 'model.caption("image.jpg").text'
    note = f"What it writes follows its training captions. {wrong}"
    return ("A translator" if translates else "A captioner"), "Captioner", use, note

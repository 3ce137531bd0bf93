"""Read the teacher of a distilled model."""

from __future__ import annotations

from collections.abc import Collection
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from captioning.encoders.encoder import Encoder
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.model.captioner import Captioner
from captioning.text.tokenizer import Tokenizer
from captioning.training.parts import find


def teacher_of(
    objective: DictConfig,
    source: tuple[Encoder, ImageTransform | TextTransform],
    tokenizer: Tokenizer,
    *,
    cached: bool,
    trust: Collection[str] = (),
) -> dict[str, Any]:
    """Load the model that an objective's setting `teacher` names; nothing if its class takes none.

    Args:
        objective: the group `objective`.
        source: the student's encoder and its transform.
        tokenizer: of the student.
        cached: whether batches hold features of the student's encoder instead of images.
        trust: packages whose classes the teacher may name; see `captioning.model.safe_build.build`.

    Returns:
        The argument `teacher`.

    Raises:
        InputError: there is no such model, it has another vocabulary, or it cannot read the student's batches.
    """
    if "teacher" not in signature(find(objective)).parameters:
        return {}
    where = f"objective.teacher={objective.teacher}"
    teacher = Captioner.from_pretrained(Path(objective.teacher), trust=trust)
    if teacher.tokenizer.vocabulary != tokenizer.vocabulary:
        raise InputError(
            f"{where} has another vocabulary than this run's training captions; train it on these captions (data.root) "
            "with the same text settings"
        )
    encoder, transform = source
    if cached and teacher.encoder.identity(teacher.transform) != encoder.identity(transform):
        raise InputError(
            f"{where} has another encoder than the cached features; set data.features=null, or choose a teacher with "
            "this run's encoder"
        )
    if teacher.transform.to_dict() != transform.to_dict():
        raise InputError(f"{where} reads images of another form than this run's encoder; choose one with its encoder")
    return {"teacher": teacher.requires_grad_(requires_grad=False)}

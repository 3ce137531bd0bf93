"""The range of each number in a configuration, checked before any work starts."""

from __future__ import annotations

import math
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from captioning.errors import InputError
from captioning.training.value_kinds import check_kinds


class Range(NamedTuple):
    """The values that a setting may have: numbers of a kind from `least` to `most`.

    With `null` also null, and with `part` also a part, which checks its own numbers.
    """

    kind: type[int] | type[float]
    least: float
    most: float = math.inf
    null: bool = False
    part: bool = False

    def holds(self, value: object) -> bool:
        """Return whether `value` is in the range."""
        if value is None:
            return self.null
        if isinstance(value, DictConfig):
            return self.part and "_target_" in value
        kinds = (int,) if self.kind is int else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            return False
        return math.isfinite(value) and self.least <= value <= self.most

    def __str__(self) -> str:
        what = "a whole number" if self.kind is int else "a number"
        upper = "" if math.isinf(self.most) else f" to {self.most:,}"
        others = (" or null" if self.null else "") + (" or a part with _target_" if self.part else "")
        return f"{what} from {self.least}{upper}{others}"


RANGES = {
    "seed": Range(int, 0, 2**32 - 1),
    "batch_size": Range(int, 1),
    "examples": Range(int, 0),
    "retrieval": Range(int, 0),
    "beta": Range(float, 0),
    "min_words": Range(int, 1),
    "consensus_images": Range(int, 1),
    "consensus_captions": Range(int, 1, null=True),
    "data.batch_size": Range(int, 1),
    "data.eval_batch_size": Range(int, 1),
    "data.captions_per_image": Range(int, 1, null=True),
    "data.pool": Range(int, 1),
    "data.max_length": Range(int, 1, null=True),
    "data.num_workers": Range(int, 0),
    "data.seed": Range(int, 0, 2**32 - 1),
    "data.split_seed": Range(int, 0, null=True),
    "data.val_share": Range(float, 0, 1),
    "data.test_share": Range(float, 0, 1),
    "text.min_count": Range(int, 1),
    "text.vocab_size": Range(int, 5, 1_000_000),
    "text.most": Range(int, 1, 1_000_000, null=True),
    "vocabulary.min_count": Range(int, 1),
    "optimizer.lr": Range(float, 0),
    "optimizer.weight_decay": Range(float, 0),
    "finetuning.from_epoch": Range(int, 0),
    "finetuning.num_stages": Range(int, 0, null=True),
    "finetuning.learning_rate": Range(float, 0, null=True),
    "search.beam_size": Range(int, 1, null=True),
    "search.num_best": Range(int, 1, null=True),
    "search.max_length": Range(int, 1, null=True),
    "search.length_normalization": Range(float, 0, null=True, part=True),
    "search.min_length": Range(int, 0, null=True),
    "search.temperature": Range(float, 0, null=True),
    "search.top_k": Range(int, 1, null=True),
    "search.top_p": Range(float, 0, 1, null=True),
    "search.min_p": Range(float, 0, 1, null=True),
    "search.typical_p": Range(float, 0, 1, null=True),
    "search.num_samples": Range(int, 1, null=True),
    "search.seed": Range(int, 0, null=True),
    "search.no_repeat_ngram": Range(int, 1, null=True),
    "search.repetition_penalty": Range(float, 1, null=True),
    "schedule.warmup_steps": Range(int, 0),
    "callbacks.checkpoint.save_top_k": Range(int, -1),
    "callbacks.checkpoint.every_minutes": Range(float, 0, null=True),
    "trainer.max_epochs": Range(int, 1),
    "trainer.check_val_every_n_epoch": Range(int, 1),
    "trainer.gradient_clip_val": Range(float, 0, null=True),
}


def check_settings(config: DictConfig) -> None:
    """Check every value of a composed configuration.

    Raises:
        InputError: a number is of the wrong kind or out of its range, a value is not of the kind that its class takes,
            or validation would use only part of the split.
    """
    for key, allowed in RANGES.items():
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if isinstance(node, DictConfig) and name in node and not allowed.holds(node[name]):
            raise InputError(f"{key}={node[name]}: expected {allowed}")
    deviation = OmegaConf.select(config, "standardise")
    if not isinstance(deviation, bool) and not Range(float, 0, null=True).holds(deviation):
        raise InputError(f"standardise={deviation}: expected true, false, or a deviation above 0")
    part = OmegaConf.select(config, "trainer.limit_val_batches")
    if part is not None and (not isinstance(part, float) or part != 1):
        raise InputError(
            f"trainer.limit_val_batches={part}: every image of data.split is scored; leave it out, and use a smaller "
            "data set for a quick trial"
        )
    check_kinds(config)

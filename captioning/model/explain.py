"""Explain the captions of one image: search, score other words, force them, and compute attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.utils.rnn import unpack_sequence

from captioning.data.batch import collate
from captioning.decoders.decoder import AttentiveDecoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.text import TextEncoder
from captioning.encoders.text_transform import NO_TOKEN, TextTransform
from captioning.errors import InputError
from captioning.model.attention_maps import over_grid
from captioning.model.caption import readable
from captioning.model.captioner import Captioner
from captioning.model.confidences import find
from captioning.model.explanation import Alternative, Branch, Edit, ExplainedCaption, Explanation, Word
from captioning.modes import evaluating
from captioning.search import BeamSearch, Forbid, GreedySearch, Hypotheses, Sampling, Search
from captioning.search.beam_record import Candidate, Outcome, Prefix, hypotheses, record
from captioning.search.forced import continued
from captioning.search.processors import apply

NUM_ALTERNATIVES = 8
"""The alternatives of each word."""
MOST_CAPTIONS, MOST_STEPS, MOST_BRANCHES = 10, 60, 2500
"""The largest `num_best`, and the steps and about the branches of a search that are explained."""
EDITS_PER_WORD, MOST_EDITS = 4, 100
"""How many alternatives of a word are forced, and of a whole explanation."""
_ROWS = 1000  # of the batches in which words are forced


@torch.inference_mode()
def explain(captioner: Captioner, inputs: Tensor, *, search: Search | None = None, num_best: int = 5) -> Explanation:
    """Search for the captions of an image, and explain them.

    Greedy search is explained as a beam search with one beam, which finds the same caption.

    Args:
        captioner: the model.
        inputs: the encoder's input for one image or sentence.
        search: replaces the model's own.
        num_best: the number of captions; a beam search finds at most as many as it has beams.

    Raises:
        InputError: `num_best` is not in 1..10, or there is not exactly one image.
    """
    if not 1 <= num_best <= MOST_CAPTIONS:
        raise InputError(f"num_best={num_best} must be in 1..{MOST_CAPTIONS}")
    if len(inputs) != 1:
        raise InputError(f"one image or sentence is explained at a time; found {len(inputs)}")
    search = with_captions(search or captioner.search, num_best)
    features = captioner.encode(inputs)
    with evaluating(captioner):
        candidates: Sequence[Candidate] | None = None
        if isinstance(search, BeamSearch):
            recorded = record(search, captioner.searched, features, captioner.tokenizer.special)
            found, candidates = recorded.found, recorded.candidates
        else:
            found = search(captioner.searched, features, captioner.tokenizer.special)
        source = _source(captioner, inputs)
        captions = _Explainer(captioner, features, search, source).captions(found, num_best)
        judged = None
        if captioner.confidences is not None:
            special = captioner.tokenizer.special
            _, judged = find(captioner.searched, search, features, special, captioner.confidences)
    best = next(iter(hypotheses(found)), ())
    tree, num_left_out = (None, 0) if candidates is None else _tree(candidates, best, captioner)
    return Explanation(
        decoder=type(captioner.decoder).__name__,
        search=type(search).__name__,
        settings=search.settings(),
        captions=captions,
        tree=tree,
        num_left_out=num_left_out,
        source=source,
        confidence=None if judged is None else float(judged.confidences[0]),
        distance=None if judged is None else float(judged.distances[0]),
    )


def with_captions(search: Search, num_best: int) -> Search:
    """Return the search as it is explained: with `num_best` captions if it can, and greedy search with one beam."""
    if isinstance(search, GreedySearch):
        return BeamSearch(beam_size=1, **search.settings())
    if isinstance(search, BeamSearch):
        return replace(search, num_best=min(num_best, search.beam_size))
    if isinstance(search, Sampling):
        return replace(search, num_samples=num_best)
    return search


class _Explainer:
    """Explains captions of one image."""

    def __init__(
        self, captioner: Captioner, features: ImageFeatures, search: Search, source: tuple[str, ...] | None
    ) -> None:
        self.captioner, self.features, self.search, self.source = captioner, features, search, source
        self.decoder, self.tokenizer = captioner.decoder, captioner.tokenizer

    def captions(self, found: Hypotheses, num_best: int) -> tuple[ExplainedCaption, ...]:
        """Explain the first captions of the image, best first."""
        kept = hypotheses(found)[:num_best]
        if not kept:
            return ()
        shown = [tokens[:MOST_STEPS] for tokens in kept]
        tables = [self._alternatives(own, log_probs) for own, log_probs in zip(shown, self._forced(shown), strict=True)]
        edits = self._edits(list(_likely(shown, tables)))
        return tuple(
            self._caption(tokens, score, finished, table, maps, edits)
            for tokens, score, finished, table, maps in zip(
                kept, found.scores[0].tolist(), found.finished[0].tolist(), tables, self._attention(shown), strict=False
            )
        )

    def _caption(
        self,
        tokens: Prefix,
        score: float,
        finished: bool,
        table: Sequence[Sequence[tuple[int, Alternative]]],
        maps: Tensor | None,
        edits: Mapping[Prefix, Edit],
    ) -> ExplainedCaption:
        words = []
        for t, row in enumerate(table):
            choices = tuple(
                choice if choice.chosen else replace(choice, edit=edits.get((*tokens[:t], i))) for i, choice in row
            )
            own = next(choice for choice in choices if choice.chosen)
            attention = None if maps is None else maps[t]
            words.append(Word(text=own.text, probability=own.probability, alternatives=choices, attention=attention))
        text = self.tokenizer.decode(tokens)
        return ExplainedCaption(
            text=text, log_prob=score, mean=score / len(tokens), finished=finished, words=tuple(words)
        )

    def _forced(self, captions: Sequence[Prefix]) -> list[Tensor]:
        """Compute the log-probabilities of each next token of captions, (T, V) each, step by step as a search does."""
        special, device = self.tokenizer.special, self.features.pooled.device
        longest = max(map(len, captions))
        tokens = torch.tensor([[special.bos, *own, *[special.pad] * (longest - len(own))] for own in captions])
        state = self.decoder.start(self.features)
        state = state.rows(torch.zeros(len(captions), dtype=torch.int64, device=device))
        steps = []
        for t in range(longest):
            logits, state = self.decoder.step(tokens[:, t].to(device), state)
            steps.append(logits.float().log_softmax(1))
        return [log_probs[: len(own)] for own, log_probs in zip(captions, torch.stack(steps, 1), strict=True)]

    def _alternatives(self, tokens: Prefix, log_probs: Tensor) -> list[list[tuple[int, Alternative]]]:
        """List the most probable tokens of each step and the token itself, each with its id."""
        special, search = self.tokenizer.special, self.search
        never = [special.pad, special.bos, *([] if search.allow_unknown else [special.unk])]
        processors = (Forbid(never), *search.processors)
        table = []
        for t, (own, step) in enumerate(zip(tokens, log_probs, strict=True)):
            before = torch.tensor([tokens[:t]], dtype=torch.int64, device=step.device)
            allowed = apply(processors, t, before, step[None])[0] > -torch.inf
            ids = step.topk(min(NUM_ALTERNATIVES, len(step))).indices.tolist()
            ids += [] if own in ids else [own]
            choices = [
                Alternative(
                    text=readable(self.tokenizer, i),
                    probability=step[i].exp().item(),
                    rank=1 + int((step > step[i]).sum()),
                    chosen=i == own,
                    forbidden=not allowed[i],
                )
                for i in ids
            ]
            table.append(list(zip(ids, choices, strict=True)))
        return table

    def _edits(self, prefixes: Sequence[Prefix]) -> dict[Prefix, Edit]:
        """Find the caption that starts with each prefix; a prefix that the search refuses has none."""
        search, size = self.search, 1  # any search finds an image's captions alone
        if isinstance(search, BeamSearch):
            search, size = replace(search, num_best=1), max(1, _ROWS // search.beam_size)
        elif isinstance(search, Sampling):
            search = replace(search, num_samples=1)
        edits = {}
        for _, group in groupby(sorted(prefixes, key=len), key=len):
            same = list(group)
            for start in range(0, len(same), size):
                part = same[start : start + size]
                images = self.features.rows(
                    torch.zeros(len(part), dtype=torch.int64, device=self.features.pooled.device)
                )
                found = continued(search, self.decoder, images, self.tokenizer.special, part)
                for prefix, tokens, length, score, finished in zip(
                    part,
                    found.tokens[:, 0].tolist(),
                    found.lengths[:, 0].tolist(),
                    found.scores[:, 0].tolist(),
                    found.finished[:, 0].tolist(),
                    strict=True,
                ):
                    if length:
                        text = self.tokenizer.decode(tokens)
                        edits[prefix] = Edit(text=text, log_prob=score, mean=score / length, finished=finished)
        return edits

    def _attention(self, captions: Sequence[Prefix]) -> Sequence[Tensor | None]:
        """Compute the attention weights of each token, (T, h, w) or (T, S); None if they cannot be drawn."""
        none = [None] * len(captions)
        decoder, special = self.decoder, self.tokenizer.special
        if not isinstance(decoder, AttentiveDecoder):
            return none
        batch = collate([0], [[[special.bos, *own] for own in captions]], pad=special.pad)
        batch = batch.to(self.features.pooled.device)
        packed = batch.inputs()
        attended = decoder.attend(self.features, packed, batch.image_index)
        weights = unpack_sequence(packed._replace(data=attended.attention.float().cpu()))
        in_order = [w for _, w in sorted(zip(batch.caption_index.tolist(), weights, strict=True), key=lambda x: x[0])]
        if self.source is not None:
            return [w[:, : len(self.source)] for w in in_order]
        try:
            return [over_grid(self.captioner.encoder, w, self.captioner.image_transform) for w in in_order]
        except InputError:
            return none  # regions of a detector


def _likely(
    captions: Sequence[Prefix], tables: Sequence[Sequence[Sequence[tuple[int, Alternative]]]]
) -> Iterator[Prefix]:
    """Yield the prefixes that end with a forced word: the best caption's first, at most `MOST_EDITS`."""
    seen: set[Prefix] = set()
    for tokens, table in zip(captions, tables, strict=True):
        for t, row in enumerate(table):
            others = [i for i, choice in row if not (choice.chosen or choice.forbidden)]
            for prefix in ((*tokens[:t], i) for i in others[:EDITS_PER_WORD]):
                if prefix not in seen and len(seen) < MOST_EDITS:
                    seen.add(prefix)
                    yield prefix


def _source(captioner: Captioner, inputs: Tensor) -> tuple[str, ...] | None:
    encoder, transform = captioner.encoder, captioner.transform
    if not isinstance(encoder, TextEncoder) or not isinstance(transform, TextTransform):
        return None
    (ids,) = encoder.in_reading_order(inputs).tolist()
    return tuple(readable(transform.tokenizer, i) for i in ids if i != NO_TOKEN)


def _tree(candidates: Sequence[Candidate], best: Prefix, captioner: Captioner) -> tuple[tuple[Branch, ...], int]:
    """Arrange the search's candidates as a tree, and count those that are left out of a large one.

    The first `MOST_STEPS` steps are kept. Of each, the most probable candidates are kept, and all that lead to one of
    the n best captions.
    """
    leading = {
        candidate.tokens[:t]
        for candidate in candidates
        if candidate.outcome is Outcome.HYPOTHESIS
        for t in range(1, len(candidate.tokens) + 1)
    }
    by_step = {step: list(group) for step, group in groupby(candidates, key=lambda candidate: len(candidate.tokens))}
    most = MOST_BRANCHES // min(MOST_STEPS, max(len(by_step), 1))
    everything = len(candidates) <= MOST_BRANCHES
    branches: list[Branch] = []
    index: dict[Prefix, int] = {}
    for step in range(1, min(len(by_step), MOST_STEPS) + 1):
        kept = [
            candidate
            for rank, candidate in enumerate(by_step[step])
            if (everything or rank < most or candidate.tokens in leading)
            and (step == 1 or candidate.tokens[:-1] in index)
        ]
        for candidate in sorted(kept, key=lambda candidate: index.get(candidate.tokens[:-1], 0)):
            tokens = candidate.tokens
            index[tokens] = len(branches)
            branches.append(
                Branch(
                    text=readable(captioner.tokenizer, tokens[-1]),
                    step=step,
                    parent=index.get(tokens[:-1]),
                    log_prob=candidate.log_prob,
                    outcome=candidate.outcome,
                    forbidden_by=candidate.forbidden_by,
                    best=best[:step] == tokens,
                )
            )
    return tuple(branches), len(candidates) - len(branches)

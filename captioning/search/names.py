"""How the options of a search are spelled here, and what other libraries call them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection

Spelling = Callable[[str], str]
"""Spells an option's name for those who read a message."""

OTHERS = {
    "beam_size": "num_beams n_beams nbeams beams beam beam_width beamsize beam_search_size",
    "num_best": (
        "n_best nbest num_return_sequences num_returned_sequences return_n_best n_return_sequences num_hypotheses "
        "num_captions num_alternatives num_translations best_of"
    ),
    "max_length": (
        "max_new_tokens max_len max_tokens max_seq_length max_sequence_length max_decode_len max_decoding_length "
        "max_gen_len max_caption_length max_steps maxlen"
    ),
    "min_length": "min_new_tokens min_len min_tokens min_decoding_length min_gen_len min_caption_length minlen",
    "length_normalization": (
        "length_penalty len_penalty lenpen length_alpha len_norm length_norm length_normalisation "
        "length_normalization_factor normalize_length"
    ),
    "allow_unknown": "allow_unk",
    "banned": "bad_words bad_words_ids banned_words ban suppress_tokens suppress_sequences forbidden forbid",
    "required": ("force_words force_words_ids required_words must_include phrasal_constraints constraints include"),
    "no_repeat_ngram": "no_repeat_ngram_size no_repeat_ngrams block_ngram_repeat ngram_blocking no_repeat",
    "repetition_penalty": "rep_penalty rep_pen repeat_penalty repetition_pen",
    "no_bad_endings": "remove_bad_endings bad_endings no_bad_ending",
    "temperature": "do_sample sampling sample temp sampling_temperature sample_temperature random_sampling_temp",
    "top_k": "topk sampling_topk sample_top_k random_sampling_topk",
    "top_p": "topp nucleus nucleus_p sampling_topp nucleus_sampling random_sampling_topp",
    "min_p": "minp sampling_min_p",
    "typical_p": "typical typicalp typical_mass sampling_typical_p",
    "num_samples": "n_samples num_sample nsamples num_sentences num",
    "seed": "random_seed random_state manual_seed sample_seed",
    "model": "bundle checkpoint ckpt model_path model_dir model_name_or_path pretrained",
    "batch_size": "bs batch eval_batch_size per_device_eval_batch_size",
}
"""Each option's name, and those that other libraries or earlier versions of this one give it."""
_OURS = {other: ours for ours, others in OTHERS.items() for other in others.split()}


def ours(name: str, known: Collection[str]) -> str | None:
    """Return what an option of another library is called here.

    Args:
        name: the name, also with dashes, or dashes before it.
        known: the options that there are.

    Returns:
        The name in this package, if it is one of `known`; None for a name that no library is known for.
    """
    plain = name.lstrip("-").replace("-", "_").lower()
    found = plain if plain in known else _OURS.get(plain)
    return found if found in known else None


def called(name: str, known: Collection[str], spell: Spelling) -> str | None:
    """Say what an option is called here; None for a name that no library is known for.

    Args:
        name: as it was given.
        known: the options that there are.
        spell: spells this package's name as the reader has to write it.
    """
    found = ours(name, known)
    return None if found is None else f"{name} is called {spell(found)} here"


def unknown(name: str, known: Collection[str], spell: Spelling) -> str:
    """Say that there is no such option, and what it is called here, or which name is near it."""
    if (found := called(name, known, spell)) is not None:
        return found
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {spell(close[0])}?" if close else f"expected one of {', '.join(map(spell, sorted(known)))}"
    return f"there is no option {name[:60]}; {advice}"


def in_python(name: str) -> str:
    """Spell a name as a keyword argument."""
    return name


def as_option(name: str) -> str:
    """Spell a name as an option of a command."""
    return f"--{name.replace('_', '-')}"


def as_setting(name: str) -> str:
    """Spell a name as a setting that Hydra reads."""
    return f"search.{name}"

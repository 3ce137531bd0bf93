from __future__ import annotations

from captioning.metrics import signature_line


def test_a_signature_is_one_line_of_keys_and_values() -> None:
    signature = {"data": "a|b", "metrics": ["BLEU-1", "CIDEr"], "search": {"name": "BeamSearch", "beam_size": 5}}
    assert signature_line(signature) == "data:a/b|metrics:BLEU-1,CIDEr|search:name=BeamSearch,beam_size=5"

"""In which precision a machine should train."""

from __future__ import annotations

import logging

import torch

log = logging.getLogger(__name__)

BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
"""Instructions that multiply bfloat16: x86's, then ARM's."""


def precision_here(asked: str, accelerator: str) -> str:
    """The precision that is asked for; float32 where that is bfloat16 and a processor would have to emulate it.

    What is emulated is slower than float32, and less exact.

    Args:
        asked: as Lightning's Trainer takes it.
        accelerator: as Lightning's Trainer takes it.
    """
    on_processor = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if not str(asked).startswith("bf16") or not on_processor or multiplies_bfloat16():
        return asked
    log.warning(
        "trainer.precision=%s: this processor multiplies no bfloat16; training in 32-true, which is faster", asked
    )
    return "32-true"


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16)

"""The precision in which this machine should train."""

from __future__ import annotations

import logging

import torch

log = logging.getLogger(__name__)

BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
"""Instructions for bfloat16 products, of x86 and of ARM."""


def precision_here(asked: str, accelerator: str) -> str:
    """Return the requested precision, or float32 if the CPU could only emulate bfloat16.

    Emulated bfloat16 is slower than float32, and less exact.

    Args:
        asked: the Trainer's `precision`.
        accelerator: the Trainer's `accelerator`.
    """
    on_processor = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if not str(asked).startswith("bf16") or not on_processor or multiplies_bfloat16():
        return asked
    log.warning("trainer.precision=%s: this CPU has no bfloat16 products; training in 32-true, which is faster", asked)
    return "32-true"


def multiplies_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16 products."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16)

"""bfloat16 is for machines that multiply it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captioning.training.precision import multiplies_bfloat16, precision_here

CPUINFO = Path("/proc/cpuinfo")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch):
    """Sets what the processor can, and whether there is an accelerator beside it."""

    def set_to(*capabilities: str, beside: bool = False) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **dict.fromkeys(capabilities, True)})
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: beside)

    return set_to


@pytest.mark.parametrize("asked", ["bf16-mixed", "bf16-true"])
def test_a_processor_without_bfloat16_trains_in_float32_and_says_so(processor, caplog, asked):
    processor()
    for accelerator in ("cpu", "auto"):
        assert precision_here(asked, accelerator) == "32-true"
        assert f"trainer.precision={asked}: this CPU has no bfloat16 products; training in 32-true" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("capability", ["amx_bf16", "avx512_bf16", "bf16", "sve_bf16"])
def test_a_processor_with_bfloat16_trains_in_it(processor, caplog, capability):
    processor(capability)
    assert precision_here("bf16-mixed", "auto") == "bf16-mixed"
    assert not caplog.text


@pytest.mark.parametrize(("accelerator", "beside"), [("auto", True), ("gpu", True), ("cuda", False)])
def test_an_accelerator_trains_as_asked(processor, caplog, accelerator, beside):
    processor(beside=beside)
    assert precision_here("bf16-mixed", accelerator) == "bf16-mixed"
    assert not caplog.text


@pytest.mark.parametrize("asked", ["32-true", "64-true", 32])
def test_other_precisions_are_left_alone(processor, caplog, asked):
    processor()
    assert precision_here(asked, "cpu") == asked
    assert not caplog.text


@pytest.mark.skipif(not CPUINFO.is_file(), reason="only Linux lists a processor's instructions in a file")
def test_this_processor_s_instructions_are_those_that_the_kernel_lists():
    listed = set(CPUINFO.read_text().split())
    assert multiplies_bfloat16() == bool(listed & {"amx_bf16", "avx512_bf16", "bf16", "svebf16"})

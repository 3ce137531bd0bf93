"""What an application pays in memory for importing the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def megabytes(statement: str) -> float:
    """The most memory of a fresh process that runs a statement. ru_maxrss would include this process's own."""
    code = f"{statement}\nprint(*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return int(ran.stdout) / 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_the_package_takes_little_memory_beside_torch() -> None:
    """Measured: 508 MB for torch, 532 MB with Captioner, 10 MB for the package alone."""
    torch = megabytes("import torch")
    assert megabytes("from captioning import Captioner") < 1.2 * torch
    assert megabytes("import captioning") < 0.2 * torch

"""What an application pays in memory for importing the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
def megabytes():  # ru_maxrss would include the process that started this one
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1024

import captioning
package = megabytes()
import torch
alone = megabytes()
from captioning import Captioner
print(package, alone, megabytes())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_the_package_takes_little_memory_beside_torch() -> None:
    """Measured: 10 MB for the package, 509 MB with torch, 533 MB with Captioner."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)
    package, torch, captioner = map(float, ran.stdout.split())
    assert package < 0.2 * torch
    assert captioner < 1.2 * torch

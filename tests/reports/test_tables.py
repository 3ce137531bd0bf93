"""Tables are printed at full width."""

from __future__ import annotations

import pytest
from rich.table import Table

from captioning.reports.tables import console


def test_a_table_in_a_log_is_not_truncated(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(*(f"a rather long heading {n}" for n in range(5)))
    console().print(table)
    assert "a rather long heading 4" in capsys.readouterr().out

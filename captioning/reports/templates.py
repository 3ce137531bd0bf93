"""Render the HTML templates of this package."""

from __future__ import annotations

from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """Render a template. Values are escaped, and a missing value is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("captioning.reports", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(values)

"""Documents from templates: HTML with every value escaped, Markdown with values as they are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(name: str, filters: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> str:
    """A document.

    Args:
        name: The template's file, beside this one; NAME.html.jinja is HTML.
        filters: Those that it uses beside `count`, `thousands` and Jinja's.
        values: By the names that it knows them by; a missing one is an error.
    """
    is_html = name.endswith(".html.jinja")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=is_html,
        keep_trailing_newline=not is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": counted, "thousands": "{:,}".format, **filters}
    return environment.get_template(name).render(values)


def counted(number: int, noun: str) -> str:
    """As in "1 name" and "1,128 names"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

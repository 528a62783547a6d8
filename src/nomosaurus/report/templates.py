"""Documents from templates: HTML with every value escaped, Markdown with values as they are.

What a document takes from lists, params and files is text from strangers: in Markdown it goes
through `code`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nomosaurus.errors import printable


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
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": counted, "thousands": "{:,}".format, **filters}
    return environment.get_template(name).render(values)


def counted(number: int, noun: str) -> str:
    """As in "1 name" and "1,128 names"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def code(text: str) -> str:
    """Any text as a code span: as it is, without mark-up, links or mentions.

    The fence is longer than any run of backticks in the text, as CommonMark wants it.
    """
    text = printable(re.sub(r"[\r\n]+", " ", text))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    edge = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{edge}{text}{edge}{fence}"

"""The review page as one text: template, style, scripts and data in one file.

Pure, but for the package's own templates. Whatever stands in the data, nothing in the page can
run but our own script: the policy names it by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

_SCRIPTS: Final = ("marks.js", "cards.js", "large.js", "filters.js", "next.js", "review.js")
"""In the order in which they are joined; together they are one module."""

_UNSAFE: Final = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""What could end the script, what UTF-8 cannot hold, and what some parser may drop."""


def page_html(data: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The whole page: ``data`` for its script, ``words`` for its template, which escapes them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    style, script = _asset("review.css"), "\n".join(map(_asset, _SCRIPTS))
    environment = Environment(
        loader=PackageLoader("seedance_batch"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("review.html").render(
        words,
        policy=policy(style, script),
        # Our own files and escaped JSON: the only texts that are not escaped by the template.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(script_json(data)),  # noqa: S704
    )


def policy(style: str, script: str) -> str:
    """The content security policy of a page with this style and this script, and no other.

    ``file:`` stands beside ``'self'`` because some browsers hold that a local file has no self.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src 'self' file:",
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def script_json(value: object) -> str:
    """JSON that can stand in a script element: the same value, and no character of markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _asset(name: str) -> str:
    return (files("seedance_batch") / "templates" / name).read_text("utf-8")

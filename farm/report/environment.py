"""How pages are made of this room's templates: what is put in is escaped, and nothing may be missing."""

from __future__ import annotations

import jinja2


def pages() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("farm.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

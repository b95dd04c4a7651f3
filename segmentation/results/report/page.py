"""Write a page: one HTML file that works offline, and runs no script but its own."""

import base64
import hashlib
from pathlib import Path

from segmentation.atomic import written_whole

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(file: Path, template: str, **content: object) -> None:
    """Fill in a template, a file in ``templates/``, and write the page, whole or not at all.

    `content` are the values of all variables of the template; markup in them is escaped.
    """
    # Imported here, because most calls write no page.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "gallery.js"))
    stream = environment.get_template(template).stream(
        **content,
        style=style,
        script=script,
        # The browser refuses all else: other scripts, and every connection.
        policy=f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'",
    )
    with written_whole(file) as part:
        # Names of files need not be text: bytes that are no characters become question marks.
        stream.dump(str(part), encoding="utf-8", errors="replace")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

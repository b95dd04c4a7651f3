"""Write a page: one HTML file that needs nothing besides, and that runs no script but its own."""

import base64
import hashlib
from pathlib import Path

from segmentation.atomic import written_whole

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(file, template, **content):
    """Fill a template, and write the page whole or not at all.

    All that is filled in is text, whatever it looks like: the template engine escapes it.

    Parameters
    ----------
    file : Path
    template : str
        Name of one in ``templates/``.
    **content
        What the template asks for.
    """
    # Imported here: most calls write no page.
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
        # The browser refuses whatever is not in this list: other scripts, and every connection.
        policy=f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'",
    )
    with written_whole(file) as part:
        # Names of files need not be text: what is no character becomes a question mark.
        stream.dump(str(part), encoding="utf-8", errors="replace")


def _source(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

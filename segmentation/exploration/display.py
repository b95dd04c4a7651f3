"""Show a figure in a notebook with its finding under it."""

from io import BytesIO

from matplotlib.figure import Figure


def show(figure: Figure, finding: str) -> None:
    """Display a figure, and the sentence that says what it shows.

    Parameters
    ----------
    figure : Figure
        Displayed as PNG, or as JPEG where that takes less than half: photographs in PNG make a notebook of megabytes.
    finding : str
        Markdown.
    """
    from IPython.display import Image, Markdown, display  # comes with Jupyter alone

    sharp, small = png(figure), jpeg(figure)
    display(Image(data=small if len(small) < len(sharp) / 2 else sharp, alt=finding))
    display(Markdown(f"**Finding.** {finding}"))


def png(figure: Figure) -> bytes:
    """Draw a figure as PNG."""
    # Without the name and version of the library: the same figure gives the same bytes.
    return _drawn(figure, format="png", metadata={"Software": None})


def jpeg(figure: Figure) -> bytes:
    """Draw a figure as JPEG."""
    return _drawn(figure, format="jpeg", pil_kwargs={"quality": 85})


def _drawn(figure: Figure, **options) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=90, **options)
    return buffer.getvalue()

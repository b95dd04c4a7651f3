"""Write what is in a data set as Markdown with plots, without any of its pictures.

example:
  python -m segmentation.exploration.report my_images --output about_my_images.md

The statistics and plots of the notebook, which may be published where the images may not. The plots lie in a folder
with the name of the file.

exit status:
  0  written
  2  the command line, the data set, the split or the model is unusable
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation.command_line import Parser, refuse
from segmentation.paths import released_model

if TYPE_CHECKING:
    from segmentation.bundle import Bundle
    from segmentation.exploration.survey import Survey

_COMMAND = "python -m segmentation.exploration.report"
_END = f"---\n\nWritten by `{_COMMAND}`; the notebook `exploratory_analysis.ipynb` shows the same with pictures.\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; return the exit status."""
    parser = Parser(__doc__)
    parser.prog = _COMMAND
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="a folder or zip of images and masks")
    add("--split", type=Path, metavar="CSV", help="with the columns id and subset, and kind and group")
    add("--model", type=Path, default=released_model(), metavar="FOLDER", help="a trained model")
    add("--output", type=Path, default=Path("report.md"), metavar="FILE", help="Markdown file to write")
    add("--title", help="of the page (default: the name of the data)")
    options = parser.parse_args(argv)

    # Imported here: these take seconds, which --help must not wait for.
    from segmentation.bundle import BundleError, load_bundle
    from segmentation.data.problems import DatasetError
    from segmentation.exploration.survey import open_survey
    from segmentation.progress import progress_bar

    try:
        _refuse_files_of_others(options.output)
        bundle = load_bundle(options.model)
        with progress_bar("reading", "image") as progress:
            survey = open_survey(options.data, options.split, progress=progress)
        write_report(options.output, survey, bundle, options.title or f"What is in {options.data.name}")
    except (DatasetError, BundleError, OSError) as error:
        return refuse("exploration.report", error)
    print(options.output)  # noqa: T201
    return 0


def _refuse_files_of_others(file: Path) -> None:
    """Raise `FileExistsError` if a report would replace, or mix with, what no report wrote."""
    folder = file.with_suffix("")
    if file.exists():
        others = None if file.is_file() and _COMMAND in file.read_text("utf-8", errors="replace") else file
    else:
        others = folder if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())) else None
    if others:
        raise FileExistsError(f"{others} is there already, and is no report of this command: name another --output")


def write_report(file: Path, survey: Survey, bundle: Bundle, title: str) -> None:
    """Write the Markdown file and, in a folder with its name, a PNG a section; `bundle` predicts the test images."""
    from segmentation.atomic import written_whole
    from segmentation.silence import silence_tensorflow

    with silence_tensorflow():
        from segmentation.exploration import kinds
    from segmentation.exploration import annotation, brightness, counts, foreground, images, performance, style
    from segmentation.exploration import siblings, sizes, targets, touching  # isort: skip
    from segmentation.targets.encodings import ENCODINGS

    # First, as it is the most likely to fail.
    performed = performance.examine_model(survey, bundle)
    paragraphs, plots, folder = [f"# {title}"], {}, file.with_suffix("")
    for heading, section, *more in (
        ("What images are there?", images),
        ("How large are they?", sizes),
        ("How many nuclei, and how big?", counts),
        ("How much of an image is foreground?", foreground),
        ("How bright, and how coloured?", brightness),
        ("Which kinds are there, and how rare?", kinds),
        ("How many nuclei touch?", touching),
        ("What looks wrong in the annotation?", annotation, annotation.find_suspects(survey)),
        ("Which images are nearly the same, and does the split divide them?", siblings),
        ("What is the network asked to learn?", targets, ENCODINGS[bundle.targets]),
        ("How does the model do, and where does it fail?", performance, performed),
    ):
        paragraphs.append(f"## {heading}")
        # The plots of these three show the images themselves.
        if section not in (images, annotation, targets):
            name = f"{section.__name__.rpartition('.')[2]}.png"
            plots[folder / name] = style.png(section.draw(survey, *more))
            paragraphs.append(f"![{heading}]({folder.name}/{name})")
        paragraphs.append(section.describe(survey, *more))
    folder.mkdir(parents=True, exist_ok=True)
    for plot, content in plots.items():
        with written_whole(plot) as part:
            part.write_bytes(content)
    with written_whole(file) as part:
        part.write_text("\n\n".join([*paragraphs, _END]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

"""Write what is in a data set as Markdown with plots: the figures of the notebook that show no pictures.

    python -m segmentation.exploration.report DATA [--split CSV] [--model FOLDER] [--output FILE.md] [--title TEXT]

Statistics and plots alone, so that it may be published where the images may not. The plots lie in a folder named as
the file. Exit status: 0 written, 2 no data set, split or model to read.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m segmentation.exploration.report",
        description="Write what is in a data set as Markdown with plots, without any of its pictures.",
        epilog="Exit status: 0 written, 2 no data set, split or model to read.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder or zip of images and masks")
    parser.add_argument("--split", type=Path, metavar="CSV", help="with the columns id and subset, and kind and group")
    parser.add_argument(
        "--model", type=Path, default=ROOT / "models" / "nuclei", metavar="FOLDER", help="a trained model"
    )
    parser.add_argument("--output", type=Path, default=Path("report.md"), metavar="FILE", help="default: report.md")
    parser.add_argument("--title", help="of the page; default: the name of the data")
    options = parser.parse_args(arguments)

    # After the command line is known to be right: these take seconds.
    from segmentation.bundle import BundleError, load_bundle
    from segmentation.data.problems import DatasetError
    from segmentation.exploration.collection import open_collection
    from segmentation.exploration.survey import survey
    from segmentation.progress import progress_bar

    try:
        bundle = load_bundle(options.model)
        with progress_bar("reading", "image") as progress:
            collection = open_collection(options.data, options.split, progress=progress)
        write_report(options.output, survey(collection), bundle, options.title or f"What is in {options.data.name}")
    except (DatasetError, BundleError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(options.output)  # noqa: T201
    return 0


def write_report(file: Path, survey, bundle, title: str) -> None:
    """Write the Markdown file and, in a folder named as it, a PNG a section.

    Parameters
    ----------
    file : Path
    survey : segmentation.exploration.survey.Survey
    bundle : segmentation.bundle.Bundle
        The model that is examined on the test images.
    title : str
    """
    from segmentation.atomic import written_whole
    from segmentation.exploration.display import png

    made = list(sections(survey, bundle))
    folder = file.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# {title}", ""]
    for name, heading, figure, finding in made:
        lines += [f"## {heading}", ""]
        if figure is not None:
            with written_whole(folder / f"{name}.png") as part:
                part.write_bytes(png(figure))
            lines += [f"![{heading}]({folder.name}/{name}.png)", ""]
        lines += [finding, ""]
    lines += [
        "---",
        "",
        "Written by `python -m segmentation.exploration.report`; the notebook `exploratory_analysis.ipynb` shows the "
        "same with pictures.",
        "",
    ]
    with written_whole(file) as part:
        part.write_text("\n".join(lines), encoding="utf-8")


def sections(survey, bundle):
    """Make the sections one after another: name, heading, figure or None, finding."""
    from segmentation.silence import silence_tensorflow

    with silence_tensorflow():
        from segmentation.exploration import kinds as rarity
        from segmentation.exploration import siblings
    from segmentation.exploration import annotation, brightness, counts, foreground, performance, sizes
    from segmentation.exploration import touching as crowding
    from segmentation.exploration.images import describe_gallery
    from segmentation.exploration.targets import describe_targets
    from segmentation.targets.encodings import ENCODINGS

    # First, as it is what may not work.
    performed = performance.examine_model(survey, bundle)
    suspects = annotation.find_suspects(survey)
    yield "images", "What images are there?", None, describe_gallery(survey)
    yield "sizes", "How large are they?", sizes.draw_sizes(survey), sizes.describe_sizes(survey)
    yield "counts", "How many nuclei, and how big?", counts.draw_counts(survey), counts.describe_counts(survey)
    figure, finding = foreground.draw_foreground(survey), foreground.describe_foreground(survey)
    yield "foreground", "How much of an image is foreground?", figure, finding
    figure, finding = brightness.draw_brightness(survey), brightness.describe_brightness(survey)
    yield "brightness", "How bright, and how coloured?", figure, finding
    yield "kinds", "Which kinds are there, and how rare?", rarity.draw_kinds(survey), rarity.describe_kinds(survey)
    figure, finding = crowding.draw_touching(survey), crowding.describe_touching(survey)
    yield "touching", "How many nuclei touch?", figure, finding
    figure, finding = annotation.draw_suspect_counts(survey, suspects), annotation.describe_suspects(survey, suspects)
    yield "annotation", "What looks wrong in the annotation?", figure, finding
    figure, finding = siblings.draw_siblings(survey), siblings.describe_siblings(survey)
    yield "siblings", "Which images are nearly the same, and does the split divide them?", figure, finding
    yield "targets", "What is the network asked to learn?", None, describe_targets(survey, ENCODINGS[bundle.targets])
    figure, finding = (
        performance.draw_performance(survey, performed),
        performance.describe_performance(survey, performed),
    )
    yield "model", "How does the model do, and where does it fail?", figure, finding


if __name__ == "__main__":
    sys.exit(main())

"""What a call writes: the interface between the pipeline and the formats of `segmentation.results`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.data.images import Image

if TYPE_CHECKING:
    from segmentation.prediction.large import LargePrediction, Measure


@dataclass(frozen=True, eq=False)
class Prediction:
    """All that is known about a predicted image.

    Attributes
    ----------
    name : str
        Of its results.
    image : Image
        At native depth.
    labels : (H, W) ndarray of int32
        0 = background, 1..n.
    channels : (H, W, C) ndarray of float32
        What the network gave; the first channel is the probability of foreground.
    """

    name: str
    image: Image
    labels: np.ndarray
    channels: np.ndarray


@dataclass(frozen=True)
class ImageOutput:
    """A file for each image.

    Attributes
    ----------
    folder, suffix : str
        Of the files: ``masks/NAME.png``.
    write : callable
        Writes a prediction to a path, whole or not at all.
    write_large : callable, optional
        Writes the prediction of a picture that was done by blocks to a path without a suffix; returns what it wrote, a
        file or a folder. Without it, no such picture is done if this output is asked for.
    """

    folder: str
    suffix: str
    write: Callable[[Path, Prediction], None]
    write_large: "Callable[[Path, LargePrediction], Path] | None" = None


@dataclass(frozen=True)
class TableOutput:
    """One table for all images.

    Attributes
    ----------
    file : str
        ``nuclei.csv``
    header : sequence of str
    rows : callable
        The rows of an image, none or more.
    measure, rows_large : callable, optional
        The same of a picture that is done by blocks: what is to be measured of the nuclei of each block, and the rows
        of the whole. Without them, no such picture is done if this output is asked for.
    """

    file: str
    header: Sequence[str]
    rows: Callable[[Prediction], Iterable[Sequence]]
    measure: "Measure | None" = None
    rows_large: "Callable[[LargePrediction], Iterable[Sequence]] | None" = None


Output = ImageOutput | TableOutput

"""An array in, a label map out: prediction from notebooks and napari."""

import threading
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from segmentation.bundle import DESCRIPTION, BundleError, load_bundle
from segmentation.data.formats.decoded import Decoded, DecodeError
from segmentation.data.images import Image, as_image
from segmentation.paths import released_model
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.predictor import Predictor

Scored = tuple[np.ndarray, np.ndarray]

# The network runs one picture at a time, and napari calls from several threads.
_ONE_AT_A_TIME = threading.Lock()


@overload
def segment(
    array: ArrayLike,
    model: str | Path | None = None,
    *,
    threshold: float | None = None,
    min_area: int | None = None,
    diameter: float | Literal["auto"] | None = "auto",
    tta: bool = False,
    min_score: float | None = None,
    scores: Literal[False] = False,
) -> np.ndarray: ...


@overload
def segment(
    array: ArrayLike,
    model: str | Path | None = None,
    *,
    threshold: float | None = None,
    min_area: int | None = None,
    diameter: float | Literal["auto"] | None = "auto",
    tta: bool = False,
    min_score: float | None = None,
    scores: Literal[True],
) -> Scored: ...


def segment(
    array: ArrayLike,
    model: str | Path | None = None,
    *,
    threshold: float | None = None,
    min_area: int | None = None,
    diameter: float | Literal["auto"] | None = "auto",
    tta: bool = False,
    min_score: float | None = None,
    scores: bool = False,
) -> np.ndarray | Scored:
    """Find the nuclei in a picture.

    The label map is the one that ``predict_masks.py`` writes for a file with these pixels. The model is loaded at the
    first call and kept, so later calls only run the network. TensorFlow is not needed.

    Parameters
    ----------
    array : (H, W), (H, W, 1) or (H, W, 3) array_like of integers, of floats or of bool
        A grey picture, or one in red, green and blue, of any size and range. Values that are NaN or infinite are taken
        for background, with a warning.
    model : str or Path, optional
        Folder of a trained model; by default the released one.
    threshold : float, optional
        Least probability of a nucleus, between 0 and 1; by default the model's.
    min_area : int, optional
        Smaller nuclei are dropped, in pixels; by default the model's.
    diameter : float, "auto" or None
        Of the nuclei, in pixels: the network sees the picture at the scale that brings nuclei to the diameter that it
        knows. "auto": the network finds the diameter. None: it sees the picture as it is.
    tta : bool
        Test-time augmentation: average over the eight symmetries of the square, in eight times the time.
    min_score : float, optional
        Nuclei with a lower score are dropped, between 0 and 1.
    scores : bool
        Return the scores, too.

    Returns
    -------
    (H, W) ndarray of int32
        0 is background, 1..n are the nuclei.
    (n,) ndarray of float64, if `scores`
        Of each nucleus, the intersection over union with the true one that is to be expected.

    Raises
    ------
    TypeError
        If the array holds no numbers.
    ValueError
        If the shape or the values are none of the above, the array is empty, or an option is out of range.
    BundleError
        If there is no such model, it is incomplete or altered, or scores are asked for and it gives none.

    Examples
    --------
    A picture of five nuclei, drawn as Gaussian blobs on a noisy background:

    >>> import numpy as np
    >>> from segmentation import segment
    >>> rows, columns = np.mgrid[:160, :200]
    >>> picture = np.random.default_rng(0).normal(20, 2, (160, 200))
    >>> for row, column in [(30, 40), (50, 120), (80, 70), (120, 30), (115, 150)]:
    ...     picture += 100 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 6**2))
    >>> labels = segment(picture)
    >>> labels.shape
    (160, 200)
    >>> print(labels.max(), "nuclei")
    5 nuclei
    >>> labels, scores = segment(picture, scores=True)
    >>> scores.shape
    (5,)

    In napari, the nuclei of the first layer: ``viewer.add_labels(segment(viewer.layers[0].data))``.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    if min_area is not None and min_area < 0:
        raise ValueError(f"min_area must be 0 or more, got {min_area}")
    if min_score is not None and not 0 < min_score < 1:
        raise ValueError(f"min_score must be between 0 and 1, got {min_score}")
    if isinstance(diameter, str) and diameter != "auto":
        raise ValueError(f"diameter must be a number, 'auto' or None, got {diameter!r}")
    image = _as_image(array)
    folder = Path(model or released_model()).resolve()
    try:
        description = (folder / DESCRIPTION).read_bytes()
    except OSError:
        load_bundle(folder)  # says in a sentence what is missing
        raise
    with _ONE_AT_A_TIME:
        predictor = _open(folder, description, threshold, min_area, diameter, tta, min_score)
        found = predictor.find(image)
    if not scores:
        return found.labels
    if found.scores is None:
        raise BundleError(
            f"The model {folder} gives no scores: leave out scores=True, or fit them with "
            f"python -m segmentation.training.calibrate {folder} --only-trust"
        )
    return found.labels, found.scores


def _as_image(array: ArrayLike) -> Image:
    pixels = np.asarray(array)
    if pixels.dtype.kind not in "biuf":
        raise TypeError(f"array must hold integers, floats or bool, got {pixels.dtype}")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)):
        hint = ""
        if pixels.shape[2:] == (4,):
            hint = "; array[..., :3] leaves out the transparency"
        elif pixels.ndim == 3 and pixels.shape[0] == 3:
            hint = "; np.moveaxis(array, 0, -1) puts the channels last"
        raise ValueError(f"array must have the shape (H, W) or (H, W, 3), got {pixels.shape}{hint}")
    if not pixels.size:
        raise ValueError(f"array must not be empty, got the shape {pixels.shape}")
    try:
        image = as_image(Decoded(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))
    except DecodeError as error:
        raise ValueError(f"array {error}") from error
    if image.gaps:
        sentence = f"array holds {image.gaps:,} values that are NaN or infinite, taken for background"
        warnings.warn(sentence, stacklevel=3)
    return image


@lru_cache(maxsize=4)
def _open(
    folder: Path,
    description: bytes,  # a model that was trained anew has other digests there, and is loaded again
    threshold: float | None,
    min_area: int | None,
    diameter: float | Literal["auto"] | None,
    tta: bool,
    min_score: float | None,
) -> Predictor:
    return open_predictor(load_bundle(folder), None, threshold, min_area, diameter, tta=tta, min_score=min_score)

"""An array in, a label map out: the way in for notebooks and napari."""

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np

from segmentation.bundle import DESCRIPTION, load_bundle
from segmentation.data.formats.decoded import DecodeError
from segmentation.data.images import GREY, RGB, Image, as_image_dtype
from segmentation.prediction.predictor import Predictor, open_predictor

DEFAULT_MODEL = Path(__file__).parents[2] / "models" / "nuclei"

# The network runs one picture at a time, and napari calls from several threads.
_ONE_AT_A_TIME = threading.Lock()


def segment(array, model=DEFAULT_MODEL, *, threshold=None, min_area=None, diameter="auto", tta=False):
    """Find the nuclei in a picture.

    The label map is the one that ``predict_masks.py`` writes for a file with these pixels. The model is loaded at the
    first call and kept, so further calls take only as long as the network does. TensorFlow is not needed.

    Parameters
    ----------
    array : (H, W), (H, W, 1) or (H, W, 3) array_like of integers from 0 to 65,535, of floats or of bool
        A grey picture, or one in red, green and blue, of any size. Floats may have any range, but must be finite.
    model : str or Path
        Folder of a trained model; without it ``models/nuclei`` of this repository.
    threshold : float, optional
        Least probability of a nucleus, between 0 and 1; without it the model's.
    min_area : int, optional
        Smaller nuclei are dropped, in pixels; without it the model's.
    diameter : float, "auto" or None
        Of the nuclei, in pixels: the network sees the picture at the scale at which that is the diameter it knows.
        "auto": the network finds out. None: it sees the picture as it is.
    tta : bool
        Average over the eight symmetries of the square: somewhat better, in eight times the time.

    Returns
    -------
    (H, W) ndarray of int32
        0 is background, 1..n are the nuclei.

    Raises
    ------
    TypeError
        If the array holds no numbers.
    ValueError
        If its shape is another one, it is empty, it holds other numbers than these, or an option is out of range.
    BundleError
        If there is no such model, or it is incomplete or altered.

    Examples
    --------
    In a notebook:

    >>> from segmentation import segment
    >>> labels = segment(tifffile.imread("cells.tif"))
    >>> labels.max()  # so many nuclei
    42

    In napari, with the first layer of the viewer:

    >>> viewer.add_labels(segment(viewer.layers[0].data), scale=viewer.layers[0].scale[-2:])
    """
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    if min_area is not None and min_area < 0:
        raise ValueError(f"min_area must be 0 or more, got {min_area}")
    if isinstance(diameter, str) and diameter != "auto":
        raise ValueError(f"diameter must be a number, 'auto' or None, got {diameter!r}")
    image = _as_image(array)
    with _ONE_AT_A_TIME:
        return _predictor(model, threshold=threshold, min_area=min_area, diameter=diameter, tta=tta)(image)


def _as_image(array) -> Image:
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
        pixels = np.ascontiguousarray(np.atleast_3d(as_image_dtype(pixels)))
    except DecodeError as error:
        raise ValueError(f"array {error}") from error
    return Image(pixels, GREY if pixels.shape[-1] == 1 else RGB, None)


def _predictor(model, **options) -> Predictor:
    folder = Path(model).resolve()
    try:
        # A model that was trained anew has another description, which holds the digests of its files.
        description = (folder / DESCRIPTION).read_bytes()
    except OSError:
        load_bundle(folder)  # says in a sentence what is missing
        raise
    return _open(folder, description, **options)


@lru_cache(maxsize=4)
def _open(folder, description, **options) -> Predictor:
    return open_predictor(load_bundle(folder), **options)

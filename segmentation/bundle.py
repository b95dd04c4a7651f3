"""A trained model as a folder: the network in two formats, and in ``bundle.json`` all that prediction needs to know.

Nothing here imports a framework: prediction does without TensorFlow.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from segmentation.atomic import written_whole

if TYPE_CHECKING:
    import keras

SCHEMA_VERSION = 1
DESCRIPTION = "bundle.json"
MODEL_FILES = ("model.keras", "model.xml", "model.bin")
LIBRARIES = ("keras", "tensorflow", "openvino", "numpy", "scikit-image", "opencv-python-headless", "albumentations")
_OTHER = "train one with train.py, or name another model"
_LONGEST = 1_000_000  # bytes of ``bundle.json``; it has three thousand


class BundleError(ValueError):
    """A bundle that cannot be used; the message is one sentence that names it, what is wrong, and what to do."""


@dataclass(frozen=True)
class Bundle:
    """What is known about a trained model; the fields of ``bundle.json``, apart from `folder`."""

    folder: Path  # of ``bundle.json`` and the model files
    targets: str  # target encoding of the network, a key of `segmentation.targets.encodings.ENCODINGS`
    channels: tuple[str, ...]  # meaning of each output channel; the first is the probability of foreground
    normalisation: dict  # parameters of `segmentation.data.normalisation.Normalisation`
    diameter: float  # median nuclear diameter of the training images, in pixels
    receptive_field_radius: int  # how far from a pixel, in pixels, the input can change the network's output there
    divisor: int  # height and width of the input must be multiples of this, 2 ** depth
    thresholds: dict[str, float]  # of the decoding, chosen on the validation images
    min_area: int  # smaller nuclei are dropped, in pixels
    precisions: dict[str, dict]  # those validated, each with its cost: ``{"f32": {}, "bf16": {"dice": -0.0002}}``
    training: dict  # the settings, the digest of the data, the minutes that the epochs took
    scores: dict  # those it reached, and on which subset
    trust: dict = field(
        default_factory=dict
    )  # coefficients of scores and verdicts, see `segmentation.prediction.trust`
    libraries: dict[str, str] = field(default_factory=dict)  # versions of those that made it
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 of each model file

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the network's output: its weights, and how images are prepared for it."""
        decisive = {name: getattr(self, name) for name in ("files", "targets", "channels", "normalisation", "divisor")}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def load_bundle(folder: Path | str) -> Bundle:
    """Read the description of a trained model and verify its files.

    Parameters
    ----------
    folder : Path or str
        The folder that holds ``bundle.json`` and the model files.

    Raises
    ------
    BundleError
        If the bundle is incomplete, newer than this code, altered (the SHA-256 of a model file is not the recorded
        one), or a value of its description is of another type or range than expected.

    Examples
    --------
    >>> bundle = load_bundle("models/nuclei")
    >>> bundle.targets, bundle.channels
    ('centre_offsets', ('foreground', 'row_offset', 'column_offset', 'log_radius'))
    """
    folder = Path(folder)
    file = folder / DESCRIPTION
    description = _read_description(folder)
    version = description.get("schema_version")
    if type(version) is not int or version < 1:
        raise _broken(f"{file} holds schema_version {short(version)}, expected {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{file} has schema version {version} and this code reads up to {SCHEMA_VERSION}; "
            "update the code, or name another model"
        )
    _check(file, description)
    _check_model_files(folder, "is incomplete")
    for name in MODEL_FILES:
        if sha256_of(folder / name) != description["files"].get(name):
            raise _broken(f"{folder / name} was altered, its SHA-256 is not the one in {DESCRIPTION}")
    values = {name: description[name] for name in _EXPECTED if name in description}
    return Bundle(folder, **values | {"channels": tuple(values["channels"])})


def load_network(folder: Path) -> "keras.Model":
    """Load ``model.keras``, without running code that is in it; raise `BundleError` if Keras refuses it."""
    import keras

    try:
        return keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
    except Exception as error:  # of a damaged file, whatever comes up inside of Keras
        reason = short(" ".join(str(error).split()))
        raise _broken(f"{folder / 'model.keras'} is no network that Keras loads in safe mode ({reason})") from error


def write_bundle(bundle: Bundle) -> None:
    """Hash the model files in the bundle's folder and write ``bundle.json`` beside them, whole or not at all.

    `Bundle.files` is ignored; `Bundle.libraries`, where empty, are the versions installed here.

    Raises
    ------
    BundleError
        If a model file is missing, or a field has a value that `load_bundle` would refuse.
    """
    folder = Path(bundle.folder)
    _check_model_files(folder, "cannot be described")
    description = {"schema_version": SCHEMA_VERSION} | asdict(bundle)
    del description["folder"]
    description["channels"] = list(bundle.channels)
    description["libraries"] = bundle.libraries or _installed_versions()
    description["files"] = {name: sha256_of(folder / name) for name in MODEL_FILES}
    _check(folder / DESCRIPTION, description)
    with written_whole(folder / DESCRIPTION) as part:
        part.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _between(low: int, high: int, *types: type) -> tuple[str, Callable[[Any], bool]]:
    return f"{types[0].__name__} from {low} to {high}", lambda value: type(value) in types and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _holds(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _is_normalisation(value: Any) -> bool:
    from segmentation.data.normalisation import Normalisation

    try:
        return _holds(_is_number)(value) and bool(Normalisation(**value))
    except (TypeError, ValueError):
        return False


def _are_scores(value: Any) -> bool:
    figures: Any = value.get("figures", {}) if isinstance(value, dict) else None
    are_numbers = _holds(_holds(_is_number))(figures) and (figures == {} or "dice" in figures)
    return are_numbers and all(figure.keys() in ({"value"}, {"value", "low", "high"}) for figure in figures.values())


def _are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(_is_number, value))


def _is_range(value: Any) -> bool:
    return _are_numbers(value, 2) and 0 <= value[0] <= value[1]


def _has(**parts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def is_it(value: Any) -> bool:
        return (
            isinstance(value, dict) and value.keys() == parts.keys() and all(parts[name](value[name]) for name in parts)
        )

    return is_it


_are_names = _holds(lambda value: isinstance(value, str))
_are_fractions = _holds(lambda value: _is_number(value) and 0 < value < 1)
_are_coefficients = _has(bias=_is_number, weights=_holds(lambda value: _is_number(value) and value >= 0))
_is_trust = _has(
    **dict.fromkeys(("nucleus", "dice", "ap50"), _are_coefficients),
    training_images=_has(
        sharpness=_holds(_is_range),
        diameter=_is_range,
        stains=lambda value: isinstance(value, list) and bool(value) and all(_are_numbers(one, 3) for one in value),
    ),
)

#: Of each field of ``bundle.json``, what is expected, in words and as a test.
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "targets": ("a target encoding", lambda value: isinstance(value, str)),
    "channels": ("a list of names", lambda value: isinstance(value, list) and _are_names(dict(enumerate(value)))),
    "normalisation": ("percentiles, 0 <= lower < upper <= 100", _is_normalisation),
    "diameter": _between(0, 1000, float, int),
    "receptive_field_radius": _between(0, 10_000, int),
    "divisor": ("a power of two from 1 to 256", lambda value: type(value) is int and value in [2**n for n in range(9)]),
    "thresholds": (
        "a number above 0 and below 1 of foreground",
        lambda value: _are_fractions(value) and value.keys() <= {"foreground"},
    ),
    "min_area": _between(0, 1_000_000, int),
    "precisions": ("f32 and others, with numbers", lambda value: _holds(_holds(_is_number))(value) and "f32" in value),
    "training": ("settings", lambda value: isinstance(value, dict) and isinstance(value.get("config", {}), dict)),
    "scores": ("figures, each with a value", _are_scores),
    "trust": ("coefficients of scores and verdicts, or none", lambda value: value == {} or _is_trust(value)),
    "libraries": ("names and versions", _are_names),
    "files": ("names and digests", _are_names),
}


def _check(file: Path, description: dict) -> None:
    """Raise `BundleError` unless each value is what is expected of it, and they belong together."""
    from segmentation.targets.encodings import ENCODINGS
    from segmentation.targets.evidence import IMAGE_FEATURES, feature_names

    description = {"trust": {}} | description  # bundles of earlier versions have none
    missing = [name for name in _EXPECTED if name not in description]
    if missing:
        raise _broken(f"{file} lacks {', '.join(missing)}")
    for name, (expected, is_expected) in _EXPECTED.items():
        if not is_expected(description[name]):
            raise _broken(f"{file} holds {short(description[name])} as {name}, expected {expected}")
    targets, divisor = description["targets"], description["divisor"]
    if targets not in ENCODINGS:
        raise BundleError(
            f"{file} holds {short(targets)} as targets, and this code knows {', '.join(ENCODINGS)}; "
            "update the code, or name another model"
        )
    channels = list(ENCODINGS[targets].channels)
    if description["channels"] != channels:
        given = short(description["channels"])
        raise _broken(f"{file} holds {given} as channels, expected the channels of {targets}: {', '.join(channels)}")
    if trust := description["trust"]:
        known = {name: IMAGE_FEATURES for name in ("dice", "ap50")} | {"nucleus": feature_names(ENCODINGS[targets])}
        for name, features in known.items():
            if unknown := trust[name]["weights"].keys() - set(features):
                raise _broken(
                    f"{file} holds a weight of {short(min(unknown))} in trust, expected {', '.join(features)}"
                )
    # A network that halves the image looks at all pixels that become one.
    if description["receptive_field_radius"] < divisor - 1:
        radius = description["receptive_field_radius"]
        raise _broken(f"{file} holds {radius} as receptive_field_radius, expected {divisor - 1} or more")


def _check_model_files(folder: Path, what: str) -> None:
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise _broken(f"The model {folder} {what}, {' and '.join(missing)} missing")


def _broken(what: str) -> BundleError:
    return BundleError(f"{what}; fetch the model again, {_OTHER}")


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _read_description(folder: Path) -> dict:
    file = folder / DESCRIPTION
    try:
        if not folder.is_dir():
            raise BundleError(f"There is no model folder {folder}; {_OTHER}")
        if not file.is_file():
            raise _broken(f"The model {folder} is incomplete, {DESCRIPTION} missing")
        with file.open("rb") as stream:
            text = stream.read(_LONGEST + 1)
    except OSError as error:
        raise _broken(f"{file} cannot be read ({error.strerror})") from error
    if len(text) > _LONGEST:
        raise _broken(f"{file} holds more than {_LONGEST:,} bytes, which no description has")
    try:
        description = json.loads(text.decode(), parse_constant=_reject)
    except (ValueError, RecursionError) as error:
        raise _broken(f"{file} is not valid JSON ({error})") from error
    if not isinstance(description, dict):
        raise _broken(f"{file} holds a {type(description).__name__}, expected an object")
    return description


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _installed_versions() -> dict[str, str]:
    from importlib import metadata  # as slow to import as two images to segment, and prediction does not need it

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions

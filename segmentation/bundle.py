"""A trained model as a folder: the network in two formats, and in ``bundle.json`` all that prediction needs to know.

Nothing here imports a framework: prediction does without TensorFlow.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

from segmentation.atomic import written_whole

SCHEMA_VERSION = 1
DESCRIPTION = "bundle.json"
MODEL_FILES = ("model.keras", "model.xml", "model.bin")
LIBRARIES = ("keras", "tensorflow", "openvino", "numpy", "scikit-image", "opencv-python-headless", "albumentations")
_OTHER = "train one with train.py, or name another model"


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
        one), or its description is malformed.

    Examples
    --------
    >>> bundle = load_bundle("models/nuclei")
    >>> bundle.targets, bundle.channels
    ('centre_offsets', ('foreground', 'row_offset', 'column_offset', 'log_radius'))
    """
    folder = Path(folder)
    description = _read_description(folder)
    version = description.get("schema_version")
    if type(version) is not int or version < 1:
        raise _broken(f"{folder / DESCRIPTION} holds schema_version {version!r}, expected {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{folder / DESCRIPTION} has schema version {version} and this code reads up to {SCHEMA_VERSION}; "
            "update the code, or name another model"
        )
    _check_fields(folder, description)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise _broken(f"The model {folder} is incomplete, {' and '.join(missing)} missing")
    for name in MODEL_FILES:
        if _sha256(folder / name) != description["files"].get(name):
            raise _broken(f"{folder / name} was altered, its SHA-256 is not the one in {DESCRIPTION}")
    values = {name: description[name] for name in _JSON_TYPES}
    return Bundle(folder, **values | {"channels": tuple(values["channels"])})


def write_bundle(bundle: Bundle) -> None:
    """Hash the model files in the bundle's folder and write ``bundle.json`` beside them, whole or not at all.

    `Bundle.files` is ignored; `Bundle.libraries`, where empty, are the versions installed here.

    Raises
    ------
    BundleError
        If a model file is missing, or a field has a value that `load_bundle` would refuse.
    """
    folder = Path(bundle.folder)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"The model {folder} cannot be described before {' and '.join(missing)} is in it")
    description = {"schema_version": SCHEMA_VERSION} | asdict(bundle)
    del description["folder"]
    description["channels"] = list(bundle.channels)
    description["libraries"] = bundle.libraries or _installed_versions()
    description["files"] = {name: _sha256(folder / name) for name in MODEL_FILES}
    _check_fields(folder, description)
    with written_whole(folder / DESCRIPTION) as part:
        part.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _json_type(kind: Any) -> type | tuple[type, ...]:
    """What JSON makes of the type of a field."""
    plain = get_origin(kind) or kind
    return list if plain is tuple else (int, float) if plain is float else plain


_JSON_TYPES = {of.name: _json_type(of.type) for of in fields(Bundle) if of.name != "folder"}


def _broken(what: str) -> BundleError:
    return BundleError(f"{what}; fetch the model again, {_OTHER}")


def _read_description(folder: Path) -> dict:
    if not folder.is_dir():
        raise BundleError(f"There is no model folder {folder}; {_OTHER}")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _broken(f"The model {folder} is incomplete, {DESCRIPTION} missing") from None
    except OSError as error:
        raise _broken(f"{folder / DESCRIPTION} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _broken(f"{folder / DESCRIPTION} is not valid JSON ({error})") from error
    if not isinstance(description, dict):
        raise _broken(f"{folder / DESCRIPTION} holds a {type(description).__name__}, expected an object")
    return description


def _check_fields(folder: Path, description: dict) -> None:
    file = folder / DESCRIPTION
    missing = [name for name in _JSON_TYPES if name not in description]
    if missing:
        raise _broken(f"{file} lacks {', '.join(missing)}")
    for name, kind in _JSON_TYPES.items():
        value = description[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _broken(f"{file} holds {value!r} as {name}, a {type(value).__name__} not expected there")
    for name, least in {"diameter": 0, "receptive_field_radius": 0, "divisor": 1, "min_area": 0}.items():
        if not description[name] >= least:
            raise _broken(f"{file} holds {description[name]} as {name}, expected {least} or more")
    for name in ("channels", "precisions"):
        if not description[name]:
            raise _broken(f"{file} holds no {name}, expected at least one")
    for name, threshold in description["thresholds"].items():
        if not isinstance(threshold, (int, float)) or isinstance(threshold, bool):
            raise _broken(f"{file} holds {threshold!r} as the threshold of {name}, expected a number")


def _sha256(file: Path) -> str:
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

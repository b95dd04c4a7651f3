"""A trained model as a folder: the network in two formats, and in ``bundle.json`` all that prediction needs to know.

Nothing here imports a framework, so a bundle can be looked at wherever Python runs.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from segmentation.atomic import written_whole

SCHEMA_VERSION = 1
DESCRIPTION = "bundle.json"
MODEL_FILES = ("model.keras", "model.xml", "model.bin")
LIBRARIES = ("keras", "tensorflow", "openvino", "numpy", "scikit-image", "opencv-python-headless", "albumentations")


class BundleError(ValueError):
    """A bundle that cannot be used; the message is one sentence that names it, what is wrong, and what to do."""


@dataclass(frozen=True)
class Bundle:
    """What is known about a trained model.

    Attributes
    ----------
    folder : Path
        Where ``bundle.json`` and the model files lie.
    targets : str
        Name of the encoding that the network learnt, a key of `segmentation.targets.encodings.ENCODINGS`.
    channels : tuple of str
        What each output channel means; the first is the probability of foreground.
    normalisation : dict
        Parameters of `segmentation.data.normalisation.Normalisation`.
    diameter : float
        Median nuclear diameter of the training images, in pixels.
    receptive_field_radius : int
        How far from a pixel, in pixels, the input can change the network's output there.
    divisor : int
        Height and width of the input must be multiples of this, 2 ** depth.
    thresholds : dict of str to float
        Thresholds of the decoding, tuned on the validation subset.
    min_area : int
        Smaller nuclei are dropped, in pixels.
    precisions : dict of str to dict
        The precisions validated for this model, each with what it cost: ``{"f32": {}, "bf16": {"dice": -0.0002}}``.
    training : dict
        The configuration that trained it, the digest of the data, the minutes that its epochs took.
    scores : dict
        The scores it reached, and on which subset.
    libraries : dict of str to str
        Versions of the libraries that made it.
    files : dict of str to str
        SHA-256 of each model file.
    """

    folder: Path
    targets: str
    channels: tuple[str, ...]
    normalisation: dict
    diameter: float
    receptive_field_radius: int
    divisor: int
    thresholds: dict[str, float]
    min_area: int
    precisions: dict[str, dict]
    training: dict
    scores: dict
    libraries: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what the network puts out: its weights, and how images are prepared for it."""
        decisive = {name: getattr(self, name) for name in ("files", "targets", "channels", "normalisation", "divisor")}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def load_bundle(folder) -> Bundle:
    """Read a bundle and verify it.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``bundle.json`` and the model files.

    Returns
    -------
    bundle : Bundle

    Raises
    ------
    BundleError
        If the bundle is incomplete, newer than this code, altered (the SHA-256 of a model file is not the recorded
        one), or its description is malformed.
    """
    folder = Path(folder)
    description = _read_description(folder)
    version = description.get("schema_version")
    if type(version) is not int or version < 1:
        raise BundleError(
            f"{folder / DESCRIPTION} holds schema_version {version!r}, expected {SCHEMA_VERSION}; {_REMEDY}"
        )
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{folder / DESCRIPTION} has schema version {version} and this code reads up to {SCHEMA_VERSION}; "
            "update the code, or name another model with --model"
        )
    _check_fields(folder, description)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"The model {folder} is incomplete, {' and '.join(missing)} missing; {_REMEDY}")
    for name in MODEL_FILES:
        if _sha256(folder / name) != description["files"].get(name):
            raise BundleError(f"{folder / name} was altered, its SHA-256 is not the one in {DESCRIPTION}; {_REMEDY}")
    values = {name: description[name] for name in _FIELD_TYPES}
    return Bundle(folder=folder, **values | {"channels": tuple(values["channels"])})


def write_bundle(bundle: Bundle) -> None:
    """Hash the model files that lie in the bundle's folder and write ``bundle.json`` beside them, whole or not at all.

    Library versions that the bundle does not carry yet are those installed here. `Bundle.files` is not looked at.

    Raises
    ------
    BundleError
        If a model file is missing, or a field has a value that `load_bundle` would refuse.
    """
    folder = Path(bundle.folder)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"The model {folder} cannot be described before {' and '.join(missing)} is in it")
    description = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(bundle)
    del description["folder"]
    description["channels"] = list(bundle.channels)
    description["libraries"] = bundle.libraries or _installed_versions()
    description["files"] = {name: _sha256(folder / name) for name in MODEL_FILES}
    _check_fields(folder, description)
    with written_whole(folder / DESCRIPTION) as part:
        part.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")


_REMEDY = "fetch the model again, train one with train.py, or name another with --model"

# What each field of bundle.json must be.
_FIELD_TYPES = {
    "targets": str,
    "channels": list,
    "normalisation": dict,
    "diameter": (int, float),
    "receptive_field_radius": int,
    "divisor": int,
    "thresholds": dict,
    "min_area": int,
    "precisions": dict,
    "training": dict,
    "scores": dict,
    "libraries": dict,
    "files": dict,
}


def _read_description(folder: Path) -> dict:
    if not folder.is_dir():
        raise BundleError(f"There is no model folder {folder}; train one with train.py, or name another with --model")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"The model {folder} is incomplete, {DESCRIPTION} missing; {_REMEDY}") from None
    except OSError as error:
        raise BundleError(f"{folder / DESCRIPTION} cannot be read ({error.strerror}); {_REMEDY}") from error
    except ValueError as error:
        raise BundleError(f"{folder / DESCRIPTION} is not valid JSON ({error}); {_REMEDY}") from error
    if not isinstance(description, dict):
        raise BundleError(f"{folder / DESCRIPTION} holds a {type(description).__name__}, expected an object; {_REMEDY}")
    return description


def _check_fields(folder: Path, description: dict) -> None:
    file = folder / DESCRIPTION
    missing = [name for name in _FIELD_TYPES if name not in description]
    if missing:
        raise BundleError(f"{file} lacks {', '.join(missing)}; {_REMEDY}")
    for name, kind in _FIELD_TYPES.items():
        value = description[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BundleError(
                f"{file} holds {value!r} as {name}, a {type(value).__name__} not expected there; {_REMEDY}"
            )
    for name, least in {"diameter": 0, "receptive_field_radius": 0, "divisor": 1, "min_area": 0}.items():
        if not description[name] >= least:
            raise BundleError(f"{file} holds {description[name]} as {name}, expected {least} or more; {_REMEDY}")
    for name in ("channels", "precisions"):
        if not description[name]:
            raise BundleError(f"{file} holds no {name}, expected at least one; {_REMEDY}")
    for name, threshold in description["thresholds"].items():
        if not isinstance(threshold, (int, float)) or isinstance(threshold, bool):
            raise BundleError(f"{file} holds {threshold!r} as the threshold of {name}, expected a number; {_REMEDY}")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _installed_versions() -> dict[str, str]:
    from importlib import metadata  # which takes as long as two images to import, and prediction does not need

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions

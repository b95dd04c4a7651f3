import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segmentation.bundle import MODEL_FILES, Bundle, BundleError, load_bundle, load_network, write_bundle
from tests.prediction.trusting import TRUST

RELEASED = Path(__file__).resolve().parents[1] / "models" / "nuclei"


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "nuclei"
    folder.mkdir()
    for name in MODEL_FILES:
        (folder / name).write_bytes(name.encode() * 1000)
    bundle = Bundle(
        folder=folder,
        targets="centre_offsets",
        channels=("foreground", "row_offset", "column_offset", "log_radius"),
        normalisation={"lower_percentile": 1.0, "upper_percentile": 99.9},
        diameter=21.5,
        receptive_field_radius=94,
        divisor=16,
        thresholds={"foreground": 0.45},
        min_area=12,
        precisions={"f32": {}, "bf16": {"dice": -0.0002}},
        training={"config": {"epochs": 3}, "minutes": 2.5},
        scores={"val": {"dice": 0.9}},
    )
    write_bundle(bundle)
    return bundle


def edit(bundle, **changes):
    file = bundle.folder / "bundle.json"
    description = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in description.items() if value != "REMOVED"}))


def refusal(bundle):
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle.folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(bundle.folder) in sentence
    assert re.search("train|name another", sentence), f"does not say what to do: {sentence}"
    return sentence


def test_what_is_written_is_read_back(bundle):
    loaded = load_bundle(str(bundle.folder))
    assert dataclasses.replace(loaded, libraries={}, files={}) == bundle
    assert loaded.files.keys() == set(MODEL_FILES)
    assert "numpy" in loaded.libraries


def test_library_versions_of_the_training_are_kept_when_a_bundle_is_written_again(bundle):
    loaded = load_bundle(bundle.folder)
    write_bundle(dataclasses.replace(loaded, libraries={"keras": "3.0"}, min_area=20))
    again = load_bundle(bundle.folder)
    assert again.libraries == {"keras": "3.0"}
    assert again.min_area == 20


def test_digest_follows_the_weights_and_not_the_scores(bundle):
    digest = load_bundle(bundle.folder).digest
    write_bundle(dataclasses.replace(bundle, scores={"test": {"dice": 0.5}}))
    assert load_bundle(bundle.folder).digest == digest
    (bundle.folder / "model.bin").write_bytes(b"other weights")
    write_bundle(bundle)
    assert load_bundle(bundle.folder).digest != digest


@pytest.mark.parametrize("name", MODEL_FILES)
def test_an_altered_model_file_is_refused(bundle, name):
    file = bundle.folder / name
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    assert name in refusal(bundle)
    assert "altered" in refusal(bundle)


@pytest.mark.parametrize("name", [*MODEL_FILES, "bundle.json"])
def test_an_incomplete_bundle_is_refused(bundle, name):
    (bundle.folder / name).unlink()
    assert f"{name} missing" in refusal(bundle)


def test_a_newer_schema_is_refused(bundle):
    edit(bundle, schema_version=2)
    assert "schema version 2" in refusal(bundle)
    assert "update the code" in refusal(bundle)


@pytest.mark.parametrize("version", ["1", None, 0, True, 1.0, "REMOVED"])
def test_a_schema_version_that_is_none_is_refused(bundle, version):
    edit(bundle, schema_version=version)
    assert "schema_version" in refusal(bundle)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"schema_version": 1', "\ufeff{}"])
def test_malformed_json_is_refused(bundle, text):
    (bundle.folder / "bundle.json").write_text(text, encoding="utf-8")
    assert "bundle.json" in refusal(bundle)


def test_json_in_another_encoding_is_refused(bundle):
    (bundle.folder / "bundle.json").write_bytes(b'{"schema_version": 1, "\xff\xfe": 0}')
    assert "not valid JSON" in refusal(bundle)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targets", 3),
        ("channels", []),
        ("channels", "foreground"),
        ("channels", ["foreground", "row_offset"]),
        ("channels", ["foreground", "row_offset", "column_offset", 4]),
        ("channels", ["row_offset", "foreground", "column_offset", "log_radius"]),
        ("targets", "distance"),
        ("targets", "stars"),
        ("targets", ["centre_offsets"]),
        ("divisor", 0),
        ("divisor", 3),
        ("divisor", 512),
        ("divisor", 10**11),
        ("divisor", -16),
        ("divisor", 16.0),
        ("divisor", True),
        ("diameter", -1),
        ("diameter", 1e300),
        ("diameter", 10**400),
        ("diameter", float("nan")),
        ("diameter", float("inf")),
        ("diameter", "20"),
        ("diameter", True),
        ("thresholds", {"foreground": "high"}),
        ("thresholds", {"foreground": 0}),
        ("thresholds", {"foreground": 1}),
        ("thresholds", {"foreground": 2}),
        ("thresholds", {"foreground": -0.5}),
        ("thresholds", {"foreground": True}),
        ("thresholds", {"foreground": float("nan")}),
        ("thresholds", {"foreground": 0.5, "border": 0.5}),
        ("thresholds", [0.5]),
        ("normalisation", {"lower_percentile": 99.9, "upper_percentile": 1.0}),
        ("normalisation", {"lower_percentile": "1", "upper_percentile": 99.9}),
        ("normalisation", {"lower_percentile": 1.0, "upper_percentile": float("inf")}),
        ("normalisation", {"lower": 1.0}),
        ("normalisation", [1.0, 99.9]),
        ("receptive_field_radius", 0),  # of a network that halves the image
        ("receptive_field_radius", -1),
        ("receptive_field_radius", 10_001),
        ("receptive_field_radius", 94.0),
        ("min_area", -1),
        ("min_area", 12.5),
        ("min_area", 10**30),
        ("precisions", {}),
        ("precisions", {"bf16": {}}),
        ("precisions", {"f32": {"dice": "none"}}),
        ("precisions", ["f32"]),
        ("training", {"config": [1, 2]}),
        ("training", None),
        ("scores", {"figures": [0.9]}),
        ("scores", {"figures": {"dice": {"low": 0.5}}}),
        ("scores", {"figures": {"dice": {"value": "high"}}}),
        ("scores", {"figures": {"iou": {"value": 0.5}}}),
        ("libraries", {"numpy": 2}),
        ("files", None),
        ("files", {"model.keras": 5}),
        ("min_area", "REMOVED"),
        ("normalisation", "REMOVED"),
    ],
)
def test_a_field_that_is_missing_or_of_another_kind_is_refused(bundle, field, value):
    edit(bundle, **{field: value})
    sentence = refusal(bundle)
    named = {field.removesuffix("s"), "channels of distance" if value == "distance" else "is no number"}
    assert any(name in sentence for name in named) and len(sentence) < 500


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("diameter", 0),
        ("diameter", 1000),
        ("divisor", 1),
        ("receptive_field_radius", 10_000),
        ("receptive_field_radius", 15),
        ("min_area", 0),
        ("thresholds", {"foreground": 0.999}),
        ("thresholds", {}),
        ("normalisation", {}),
        ("scores", {}),
        ("scores", {"figures": {}}),
    ],
)
def test_values_at_the_end_of_their_range_are_taken(bundle, field, value):
    edit(bundle, **{field: value})
    assert getattr(load_bundle(bundle.folder), field) == value


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": ' * 5_000, '{"diameter": ' + "9" * 10_000 + "}", '{"diameter": NaN}', "9" * 2_000_000],
    ids=["lists", "objects", "digits", "NaN", "bytes"],
)
def test_json_that_takes_too_much_is_refused(bundle, text):
    (bundle.folder / "bundle.json").write_text(text)
    assert "bundle.json" in refusal(bundle)


def test_what_is_no_regular_file_is_not_waited_for(bundle):
    for name in ("model.bin", "bundle.json"):
        (bundle.folder / name).unlink()
        os.mkfifo(bundle.folder / name)
        assert f"{name} missing" in refusal(bundle)
    assert "cannot be read" in refusal(dataclasses.replace(bundle, folder=bundle.folder / ("long" * 100)))


def test_the_released_model_and_what_it_says_of_itself():
    bundle = load_bundle(RELEASED)
    assert (bundle.divisor, bundle.receptive_field_radius, bundle.diameter) == (16, 106, 19.67)


def test_a_network_that_keras_refuses_is_refused_with_a_sentence(bundle, capfd):
    """Layers that run code of their own, an altered file, a truncated one; nothing of it runs."""
    keras = pytest.importorskip("keras")
    file = bundle.folder / "model.keras"
    image = keras.Input((None, None, 3))
    code = keras.layers.Lambda(lambda x: sys.stderr.write("the code ran") and x, output_shape=(None, None, 3))
    files = []
    for output in (code(image), keras.layers.Conv2D(4, 1)(image)):
        keras.Model(image, output).save(file)
        files.append(file.read_bytes())
    capfd.readouterr()
    with_code, good = files
    altered = good.replace(b"config.json", b"confiX.json")
    for content in (with_code, altered, good[: len(good) // 2], b"", b"not a zip", good.replace(b"PK", b"KP")):
        file.write_bytes(content)
        write_bundle(bundle)  # with its digest, as its author would
        with pytest.raises(BundleError, match=r"model\.keras is no network that Keras loads .*name another") as refused:
            load_network(load_bundle(bundle.folder).folder)
        assert "\n" not in str(refused.value)
    assert "the code ran" not in "".join(capfd.readouterr())
    file.write_bytes(good)
    assert load_network(bundle.folder).count_params() == 16


def test_a_folder_that_does_not_exist_is_refused(bundle):
    missing = dataclasses.replace(bundle, folder=bundle.folder / "nothing")
    assert "no model folder" in refusal(missing)


def test_writing_needs_the_model_files(bundle):
    (bundle.folder / "model.xml").unlink()
    before = (bundle.folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match=r"model\.xml"):
        write_bundle(bundle)
    assert (bundle.folder / "bundle.json").read_bytes() == before


def test_a_bundle_that_could_not_be_loaded_is_not_written(bundle):
    before = (bundle.folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="divisor"):
        write_bundle(dataclasses.replace(bundle, divisor=0))
    assert (bundle.folder / "bundle.json").read_bytes() == before


def test_no_framework_is_imported():
    code = "import sys, segmentation.bundle; sys.exit(bool({'keras', 'tensorflow', 'openvino'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_bundle_of_an_earlier_version_has_no_coefficients_of_trust(bundle):
    edit(bundle, trust="REMOVED")
    assert load_bundle(bundle.folder).trust == {}


def test_coefficients_of_trust_are_read_back(bundle):
    write_bundle(dataclasses.replace(bundle, trust=TRUST))
    loaded = load_bundle(bundle.folder)
    assert loaded.trust == TRUST and loaded.digest == dataclasses.replace(loaded, trust={}).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), []),
        ((), {"nucleus": {}}),
        (("nucleus",), {"bias": 0.0}),
        (("nucleus", "bias"), "0"),
        (("dice", "weights"), {"score": -0.1}),
        (("ap50", "weights"), [1]),
        (("training_images",), {}),
        (("training_images", "diameter"), [3, 2]),
        (("training_images", "sharpness"), {"stained": [0.1]}),
        (("training_images", "stains"), []),
        (("training_images", "stains"), [[0, 0]]),
        (("nucleus", "weights"), {"colour": 0.5}),
        (("dice", "weights"), {"votes": 0.5}),
    ],
)
def test_other_coefficients_of_trust_are_refused(bundle, path, value):
    trust = copy.deepcopy(TRUST)
    inner = trust
    for name in path[:-1]:
        inner = inner[name]
    if path:
        inner[path[-1]] = value
    edit(bundle, trust=trust if path else value)
    assert "trust" in refusal(bundle)

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from segmentation.bundle import MODEL_FILES, Bundle, BundleError, load_bundle, write_bundle


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "nuclei"
    folder.mkdir()
    for name in MODEL_FILES:
        (folder / name).write_bytes(name.encode() * 1000)
    bundle = Bundle(
        folder=folder,
        targets="centre_offsets",
        channels=("foreground", "row_offset"),
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
        ("divisor", 0),
        ("divisor", 16.0),
        ("divisor", True),
        ("diameter", -1),
        ("thresholds", {"foreground": "high"}),
        ("precisions", {}),
        ("files", None),
        ("min_area", "REMOVED"),
        ("normalisation", "REMOVED"),
    ],
)
def test_a_field_that_is_missing_or_of_another_kind_is_refused(bundle, field, value):
    edit(bundle, **{field: value})
    assert field.removesuffix("s") in refusal(bundle)


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

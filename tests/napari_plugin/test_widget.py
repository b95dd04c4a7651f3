"""The widget, clicked in a real napari."""

import csv
import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

import predict_masks
from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.data.layouts import find_samples
from segmentation.napari_plugin import segmenting
from segmentation.napari_plugin import widget as module
from segmentation.paths import released_model

pytest.importorskip("napari", reason="needs requirements-dev.txt")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def drawn(shape=(120, 140), seed=0, draw=draw_fluorescence):
    return draw(np.random.default_rng(seed), shape)[0]


def predicted(file, out, *options):
    """Label map and table that predict_masks.py makes of a file."""
    arguments = [str(file), "--output", str(out), "--outputs", "labels", "table", *options]
    assert predict_masks.main(arguments) == 0
    (written,) = (out / "labels").iterdir()
    if written.suffix == ".tif":
        labels = tifffile.imread(written)
    else:
        import zarr

        labels = zarr.open_group(str(written), mode="r")["labels/nuclei/0"][:]
    return labels, list(csv.DictReader((out / "nuclei.csv").open()))


def assert_same_table(features, rows):
    """Compare features, column by column, with nuclei.csv, in which numbers have seven digits."""
    columns = [name for name in rows[0] if name != "image" and any(row[name] for row in rows)]
    assert sorted(features.columns) == sorted([*columns, "index"])
    for name in columns:
        text = [{"true": "1", "false": "0"}.get(row[name], row[name]) for row in rows]
        np.testing.assert_allclose(features[name].astype(float), np.array(text, float), rtol=1e-6)
    np.testing.assert_array_equal(features["index"], features["label"])


def segment(widget, wait):
    widget.segment.native.click()
    wait(lambda: widget.segment.enabled)
    return widget.nuclei.value


def notified():
    from napari.utils.notifications import notification_manager

    return notification_manager.records[-1].message


def test_a_grey_image(viewer, widget, wait, write_picture, tmp_path):
    pixels = drawn()
    labels, rows = predicted(write_picture(tmp_path / "cells.png", pixels), tmp_path / "out")
    image = viewer.add_image(pixels, name="cells")
    layer = segment(widget, wait)
    np.testing.assert_array_equal(layer.data, labels)
    assert_same_table(layer.features, rows)
    assert (layer.name, layer.ndim) == ("cells nuclei", image.ndim)
    assert widget.said.value.startswith(f"{len(rows)} nuclei in cells. Expected Dice 0.")
    # The table is shown where the mouse is.
    position = np.argwhere(layer.data == 2)[0]
    shown = layer.get_status(position, world=True)["value"]
    assert shown.startswith("2; score: 0.") and f"area: {rows[1]['area']}" in shown


def test_an_rgb_image_and_the_options(viewer, widget, wait, write_picture, tmp_path):
    pixels = drawn(draw=draw_stained)
    options = "--threshold", "0.3", "--min-score", "0.55", "--diameter", "25"
    labels, rows = predicted(write_picture(tmp_path / "cells.png", pixels), tmp_path / "out", *options)
    viewer.add_image(np.dstack([pixels, np.full_like(pixels[..., 0], 255)]), rgb=True)
    widget.threshold.value, widget.min_score.value, widget.diameter.value = 0.3, 0.55, "25"
    layer = segment(widget, wait)
    np.testing.assert_array_equal(layer.data, labels)
    assert_same_table(layer.features, rows)


def test_one_of_several_channels_with_a_pixel_size(viewer, widget, wait, tmp_path):
    pixels = np.stack([drawn(seed=1), drawn(), drawn(seed=2)])
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "cells.ome.tif", pixels, ome=True, photometric="minisblack", metadata=metadata)
    labels, rows = predicted(tmp_path / "cells.ome.tif", tmp_path / "out", "--channel", "2")
    image = viewer.add_image(pixels, name="cells", scale=[1, 0.5, 0.5], units=["pixel", "um", "um"])
    assert segment(widget, wait) is None
    assert (
        widget.said.value == notified() == "cells has 3 channels, where one was expected: choose the one of the nuclei"
    )
    widget.channel.value = 2
    assert viewer.dims.current_step[0] == 1  # it is shown
    viewer.add_points()  # the choice stays
    image.name = "renamed"
    layer = segment(widget, wait)
    np.testing.assert_array_equal(layer.data, labels)
    assert_same_table(layer.features, rows)
    assert "area_um2" in layer.features and layer.scale.tolist() == [0.5, 0.5] and layer.units == image.units[1:]


def test_an_error_of_any_kind_ends_the_segmentation(viewer, widget, wait, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("out of memory,\nperhaps")
        yield

    monkeypatch.setattr(module, "find_nuclei", fail)
    viewer.add_image(drawn(), name="cells")
    assert segment(widget, wait) is None
    assert widget.said.value == notified() == "cells cannot be segmented (RuntimeError: out of memory, perhaps)"
    assert "Traceback" in capsys.readouterr().err


def test_a_channel_that_is_gone_is_named_in_a_sentence(viewer, widget, wait):
    image = viewer.add_image(np.stack([drawn(), drawn(), drawn()]), name="cells")
    widget.channel.value = 3
    image.data = image.data[:2]
    assert segment(widget, wait) is None
    assert widget.said.value == "cells has 2 channels, where one was expected: choose the one of the nuclei"


@pytest.mark.parametrize("axes", [2, 3])
def test_labels_lie_on_an_image_that_is_turned(viewer, widget, wait, axes):
    turned, affine, shear = np.eye(axes), np.eye(axes + 1), np.zeros(axes * (axes - 1) // 2)
    turned[-2:, -2:] = [[0.8, -0.6], [0.6, 0.8]]
    affine[-3:-1, -3:] = [[1.5, 0.25, 4], [-0.5, 2, 9]]
    shear[-1] = 0.4
    pixels = drawn().reshape(*(1,) * (axes - 2), 120, 140)
    image = viewer.add_image(pixels, scale=[3, 0.5, 0.25][-axes:], rotate=turned, shear=shear, affine=affine)
    layer = segment(widget, wait)
    for place in (0, 0), (50, 80):
        expected = image.data_to_world((*(0,) * (axes - 2), *place))[-2:]
        np.testing.assert_allclose(layer.data_to_world(place), expected)


def test_a_zarr_store_by_blocks(viewer, widget, wait, tmp_path, monkeypatch):
    """With parts that are larger than memory, as far as the widget knows."""
    import dask.array
    import zarr

    pixels = np.tile(drawn((400, 400)), (2, 8))
    root = zarr.open_group(str(tmp_path / "cells.zarr"), mode="w", zarr_format=3)
    root.create_array("0", data=pixels, chunks=(256, 256))
    axes = [{"name": name, "type": "space"} for name in "yx"]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    labels, rows = predicted(tmp_path / "cells.zarr", tmp_path / "out")

    viewer.add_image(dask.array.from_zarr(root["0"]), name="cells")
    widget.segment.native.click()
    wait(lambda: "blocks are done" in widget.said.value)
    assert widget.progress.max > 1
    wait(lambda: widget.segment.enabled)
    layer = widget.nuclei.value
    np.testing.assert_array_equal(layer.data, labels)
    assert_same_table(layer.features, rows)

    monkeypatch.setattr(segmenting, "LARGEST_WHOLE", 500_000)
    pyramid = segment(widget, wait)
    assert pyramid.multiscale and [level.shape for level in pyramid.data] == [(800, 3200), (400, 1600), (200, 800)]
    np.testing.assert_array_equal(np.asarray(pyramid.data[0]), labels)
    assert [file.name for file in Path(pyramid.metadata["found"].name).iterdir()] == ["labels.zarr"]


def test_colours_by_score(viewer, widget, wait):
    viewer.add_image(drawn())
    layer = segment(widget, wait)
    first, usual = layer.data.max(), layer.get_color(1)
    widget.by_score.value = True
    colours = np.array([layer.get_color(label) for label in range(1, first + 1)])
    # In viridis, green grows from doubtful to certain.
    assert (np.argsort(colours[:, 1]) == np.argsort(layer.features["score"])).all()
    widget.by_score.value = False
    np.testing.assert_array_equal(layer.get_color(1), usual)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((30, 64, 64), np.uint8), "cells is a stack (shape 30 x 64 x 64), where one plane"),
        (np.zeros((2, 3, 64, 64), np.uint8), "cells is a stack (shape 2 x 3 x 64 x 64), where one plane"),
        (np.zeros((64, 64), np.uint8), "0 nuclei in cells. Unlike the training images"),
    ],
)
def test_an_image_that_cannot_be_used_is_named_in_a_sentence(viewer, widget, wait, array, sentence):
    viewer.add_image(array, name="cells", contrast_limits=(0, 1))
    segment(widget, wait)
    assert widget.said.value.startswith(sentence) and notified() == widget.said.value


def test_an_option_that_cannot_be_used_is_named_in_a_sentence(viewer, widget, wait, tmp_path):
    assert segment(widget, wait) is None
    assert widget.said.value == "There is no image: open one, and choose it above"
    viewer.add_image(drawn())
    for value, sentence in (
        ("big", "The diameter is 'big', where a number of pixels"),
        ("900", "takes nuclear diameters"),
    ):
        widget.diameter.value = value
        assert segment(widget, wait) is None
        assert sentence in widget.said.value
    widget.model.line_edit.value = ""
    assert segment(widget, wait) is None
    assert widget.said.value == "The field model is empty, where a folder was expected"
    widget.diameter.value, widget.model.value = "auto", tmp_path / "none"
    assert segment(widget, wait) is None
    assert f"{tmp_path / 'none'}" in widget.said.value and notified() == widget.said.value


def test_a_released_model_that_is_missing_is_named_in_a_sentence(viewer, wait, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "released_model", lambda: tmp_path / "none")
    widget = module.NucleiWidget(viewer)
    viewer.add_image(drawn())
    widget.reset_choices()
    assert segment(widget, wait) is None
    assert widget.said.value.startswith(f"There is no model folder {tmp_path / 'none'}")


def test_a_model_without_scores_is_named(viewer, widget, wait, tmp_path):
    shutil.copytree(released_model(), tmp_path / "model")
    description = json.loads((tmp_path / "model/bundle.json").read_text())
    (tmp_path / "model/bundle.json").write_text(json.dumps(description | {"trust": {}}))
    viewer.add_image(drawn(), name="<b>cells</b>")
    widget.model.value = tmp_path / "model"
    layer = segment(widget, wait)
    assert widget.said.value == f"{layer.data.max()} nuclei in <b>cells</b>. This model gives no scores."
    assert widget.said.native.textFormat().name == "PlainText"


def test_cancel(viewer, widget, wait, tmp_path, monkeypatch):
    import dask.array

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    begun, go_on = threading.Event(), threading.Event()

    def slow(block):
        if block.size > 1:
            begun.set()
            go_on.wait(30)
        return block

    lazy = dask.array.from_array(drawn((1500, 1500)), chunks=500)
    viewer.add_image(lazy, name="cells", contrast_limits=(0, 255), visible=False)
    viewer.layers[0].data = lazy.map_blocks(slow, dtype=np.uint8)
    widget.segment.native.click()
    wait(begun.is_set)
    widget.cancel.native.click()
    assert widget.said.value == "Cancelling ..."
    go_on.set()
    wait(lambda: widget.segment.enabled)
    assert widget.said.value == "cells: cancelled" and len(viewer.layers) == 1 and not list(tmp_path.iterdir())


def test_corrected_labels_are_training_data(viewer, widget, wait, tmp_path):
    pixels = drawn()
    viewer.add_image(pixels, name="a/b")
    viewer.add_image(drawn(seed=1), name="other")
    widget.image.value, widget.folder.value = viewer.layers["a/b"], tmp_path / "data"
    layer = segment(widget, wait)
    widget.image.value = viewer.layers["other"]  # the labels know their image
    layer.fill((0, 0), layer.data[0, 0])
    layer.data[layer.data == 1] = 0
    layer.data[100:110, 100:110] = 300
    for _ in range(2):  # again, after further corrections
        widget.save.native.click()
        assert widget.said.value == f"a/b is saved in {tmp_path / 'data'}."
        (sample,) = find_samples(tmp_path / "data")
        np.testing.assert_array_equal(sample.read_image().pixels[..., 0], pixels)
        np.testing.assert_array_equal(sample.read_labels(pixels.shape) > 0, layer.data > 0)
        assert sample.read_labels(pixels.shape).max() == len(np.unique(layer.data)) - 1
        layer.data[:5, :5] = 0

    viewer.layers["other"].name = "a_b"
    viewer.add_labels(np.ones_like(pixels))  # drawn by hand: of the image that is chosen
    widget.nuclei.value = viewer.layers[-1]
    widget.save.native.click()
    assert "a_b.tif is there already, and is of another picture: rename" in notified()
    viewer.layers["a_b"].name = "c"
    widget.save.native.click()
    assert len(find_samples(tmp_path / "data")) == 2


def test_labels_that_cannot_be_saved(viewer, widget, tmp_path):
    widget.folder.value = tmp_path / "data"
    widget.save.native.click()
    assert widget.said.value.startswith("There are no nuclei: segment an image, or add a labels layer")
    viewer.add_image(drawn(), name="cells")
    viewer.add_labels(np.zeros((5, 7), int))
    widget.nuclei.value = viewer.layers[-1]
    widget.save.native.click()
    assert widget.said.value.startswith(
        "The labels have the shape (5, 7), where (120, 140) was expected, that of cells"
    )
    assert not (tmp_path / "data").exists()
    viewer.add_labels(np.where(np.arange(140) > 99, -7, np.ones((120, 140), int)))
    widget.nuclei.value = viewer.layers[-1]
    widget.save.native.click()
    assert widget.said.value.startswith("The labels of cells hold -7, where numbers from 0 to 4,294,967,295 were")
    assert not (tmp_path / "data").exists()
    viewer.layers[-1].data = np.ones((120, 140), int)
    (tmp_path / "data").touch()
    widget.save.native.click()
    assert widget.said.value == f"{tmp_path / 'data/images'} cannot be read or written (Not a directory)" == notified()


def script(code):
    return lambda *_: [sys.executable, "-u", "-c", code]


def test_a_training_is_followed_and_its_model_chosen(viewer, widget, wait, tmp_path, monkeypatch, capsys):
    widget.folder.value = tmp_path / "data"
    widget.train.native.click()
    assert widget.said.value.startswith(f"{tmp_path / 'data'} does not exist: save images")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(module, "train_command", script("print('Epoch 1/2'); input()"))
    widget.train.native.click()
    wait(lambda: widget.said.value == "Epoch 1/2")
    assert not widget.train.enabled
    widget._training.process.write(b"\n")
    wait(lambda: widget.train.enabled)
    model = tmp_path / "data_model"
    assert (widget.said.value, widget.model.value) == (
        f"The training is done. Its model is chosen above: {model}",
        model,
    )
    assert "Epoch 1/2" in capsys.readouterr().out


def test_a_training_is_cancelled(widget, wait, tmp_path, monkeypatch):
    widget.folder.value = tmp_path
    code = (
        "import signal, time; signal.signal(15, lambda *_: exit('train.py: stopped')); print('begun'); time.sleep(60)"
    )
    monkeypatch.setattr(module, "train_command", script(code))
    widget.train.native.click()
    wait(lambda: widget.said.value == "begun")
    widget.cancel_training.native.click()
    wait(lambda: widget.train.enabled)
    assert notified().endswith("stopped")


def test_a_training_is_cancelled_before_it_listens(widget, wait, tmp_path, monkeypatch):
    widget.folder.value = tmp_path
    monkeypatch.setattr(module, "train_command", script("import time; print('begun'); time.sleep(60)"))
    widget.train.native.click()
    wait(lambda: widget.said.value == "begun")
    widget.cancel_training.native.click()
    wait(lambda: widget.train.enabled)
    assert widget.said.value == notified() == "The training is cancelled"


def test_a_training_that_is_killed_is_named_in_a_sentence(widget, wait, tmp_path, monkeypatch):
    widget.folder.value = tmp_path
    code = "import os; print('Epoch 1/2'); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(module, "train_command", script(code))
    widget.train.native.click()
    wait(lambda: widget.train.enabled)
    assert notified() == "The training was killed, perhaps for lack of memory; it said last: Epoch 1/2"


def test_a_training_ends_with_the_window(viewer, wait, tmp_path, monkeypatch):
    widget = module.NucleiWidget(viewer)
    widget.folder.value, kept = tmp_path, tmp_path / "kept"
    code = f"import signal, time; signal.signal(15, lambda *_: exit(open({str(kept)!r}, 'w').close())); print('begun')"
    monkeypatch.setattr(module, "train_command", script(f"{code}; time.sleep(60)"))
    widget.train.native.click()
    wait(lambda: widget.said.value == "begun")
    pytest.importorskip("shiboken6").delete(widget.native)
    wait(kept.exists)


def test_what_train_py_says_in_several_lines_is_shown_whole(widget, wait, tmp_path):
    (tmp_path / "data/images").mkdir(parents=True)
    widget.folder.value = tmp_path / "data"
    widget.train.native.click()
    wait(lambda: widget.train.enabled)
    first, *others = notified().splitlines()
    assert first.startswith(f"train.py: {tmp_path / 'data'}: no data set found.") and len(others) == 3
    assert widget.said.value == notified()


def test_train_py_says_what_is_wrong_with_the_data(viewer, widget, wait, tmp_path):
    widget.folder.value = tmp_path / "data"
    viewer.add_image(drawn(), name="only")
    segment(widget, wait)
    widget.save.native.click()
    widget.train.native.click()
    wait(lambda: widget.train.enabled)
    assert notified().startswith(
        "train.py: The images show one field alone, which cannot be split into train and val; give"
    )
    assert not (tmp_path / "data_model").exists()


def test_napari_finds_the_widget(viewer):
    import npe2

    manifest = ROOT / "segmentation" / "napari_plugin" / "napari.yaml"
    plugins = npe2.PluginManager.instance()
    plugins.register(npe2.PluginManifest.from_file(manifest))
    _, widget = viewer.window.add_plugin_dock_widget("nuclei-segmentation", "Segment nuclei")
    assert type(widget).__name__ == "NucleiWidget"
    viewer.window.remove_dock_widget("all")
    plugins.unregister("nuclei-segmentation")
    assert '"segmentation.napari_plugin:napari.yaml"' in (ROOT / "pyproject.toml").read_text()

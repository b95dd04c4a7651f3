import subprocess
import sys

import numpy as np
import pytest

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.layouts import find_samples
from segmentation.napari_plugin import training_data
from segmentation.napari_plugin.pictures import LayerError, LayerPicture
from segmentation.napari_plugin.training_data import model_folder, save_sample, train_command
from segmentation.paths import released_model


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_what_is_saved_is_read_back(tmp_path, dtype, channels):
    pixels = np.random.default_rng(0).integers(0, 200, (20, 30, *channels)).astype(dtype)
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 2:6], labels[8:12, 8:12] = 70_000, 3
    picture = LayerPicture(" .a:b/c? ", pixels, bool(channels), pixel_size_um=PixelSize(0.25, 0.25))
    assert save_sample(tmp_path, picture, labels[None, None]) == []
    (sample,) = find_samples(tmp_path)
    image = sample.read_image()
    np.testing.assert_array_equal(image.pixels, np.atleast_3d(pixels))
    assert (sample.id, image.pixels.dtype, image.pixel_size_um) == ("a_b_c_", dtype, (0.25, 0.25))
    np.testing.assert_array_equal(sample.read_labels((20, 30)) > 0, labels > 0)


def test_what_training_will_warn_of_is_told(tmp_path):
    labels = np.zeros((20, 30), np.int32)
    labels[2:4, 2:4] = labels[8:12, 8:12] = 1
    labels[15, 15] = 2
    (warning,) = save_sample(tmp_path, LayerPicture("cells", np.zeros((20, 30), np.uint8)), labels)
    assert "nucleus in several pieces" in warning


def test_nothing_is_replaced_but_the_same_picture(tmp_path):
    picture, labels = LayerPicture("cells", np.eye(9, dtype=np.uint8)), np.eye(9, dtype=np.uint8)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "Cells.png").write_bytes(b"of another program")
    with pytest.raises(LayerError, match="Cells.png is there already"):
        save_sample(tmp_path, picture, labels)
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_a_picture_that_is_too_large_is_named_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(training_data, "LARGEST_WHOLE", 80)
    with pytest.raises(LayerError, match="cells has 9 x 9 pixels, where at most 80 were expected"):
        save_sample(tmp_path, LayerPicture("cells", np.eye(9)), np.eye(9, dtype=int))


def test_a_model_replaces_no_other(tmp_path):
    assert model_folder(tmp_path / "data") == tmp_path / "data_model"
    (tmp_path / "data_model").mkdir()
    (tmp_path / "data_model_2").mkdir()
    assert model_folder(tmp_path / "data") == tmp_path / "data_model_3"


def test_train_py_takes_the_command(tmp_path):
    command = train_command(tmp_path / "none", released_model(), tmp_path / "model", 3)
    assert command[0] == sys.executable
    tried = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert tried.returncode == 2 and f"{tmp_path / 'none'}" in tried.stderr and "usage" not in tried.stderr

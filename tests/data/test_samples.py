import numpy as np
import pytest
import tifffile

from segmentation.data import problems
from segmentation.data.images import ImageError
from segmentation.data.label_maps import read_label_map
from segmentation.data.layouts import find_samples
from segmentation.data.problems import DatasetError
from segmentation.data.samples import Sample


def test_an_image_without_nuclei_is_a_warning_in_every_layout(tmp_path, write_bowl, write_pairs, nuclei):
    empty = np.zeros_like(nuclei)
    write_bowl(tmp_path / "bowl", {"full": nuclei, "void": empty})
    write_pairs(tmp_path / "pairs", {"full": nuclei, "void": empty})
    write_pairs(tmp_path / "runs", {"void": empty})
    (tmp_path / "runs" / "images" / "t.csv").write_text("ImageId,EncodedPixels\nvoid,\n")
    for folder in ("bowl", "pairs", "runs/images"):
        sample = find_samples(tmp_path / folder)[-1]
        labels, found = sample.examine_labels(empty.shape)
        assert sample.id == "void" and labels.shape == empty.shape and not labels.any()
        assert [(problem.what, problem.fatal) for problem in found] == [(problems.NO_NUCLEI, False)]
        assert not sample.read_labels(empty.shape).any()


def test_reading_raises_where_examining_reports(tmp_path, write_bowl, nuclei):
    root = write_bowl(tmp_path, {"a": nuclei, "b": nuclei})
    (root / "a" / "masks" / "0002.png").write_bytes(b"")
    sample = find_samples(root)[0]
    labels, found = sample.examine_labels(nuclei.shape)
    assert labels.max() == 3 and [problem.what for problem in found] == [problems.UNREADABLE_MASK]
    with pytest.raises(DatasetError, match=r"a/masks/0002.png: unreadable mask"):
        sample.read_labels(nuclei.shape)
    with pytest.raises(DatasetError, match="size of mask and image differ"):
        find_samples(root)[1].read_labels((48, 65))


def test_what_is_not_there_is_said():
    with pytest.raises(DatasetError, match="sample x has masks but no image"):
        Sample("x", None).read_image()
    with pytest.raises(DatasetError, match="has no masks"):
        Sample("x", None).read_labels((3, 3))


def test_a_stack_is_refused_without_options_that_training_has_not(tmp_path, write_pairs, nuclei):
    root = write_pairs(tmp_path, {"a": nuclei})
    (root / "images" / "a.png").unlink()
    tifffile.imwrite(root / "images" / "a.tif", np.zeros((3, *nuclei.shape), np.uint8), imagej=True)
    (sample,) = find_samples(root)
    with pytest.raises(ImageError, match="holds 3 .*: save the picture that is wanted as a file of its own$"):
        sample.read_image()
    tifffile.imwrite(root / "masks" / "b.tif", np.zeros((2, 3, 9, 9), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ImageError) as caught:
        read_label_map(root / "masks" / "b.tif")
    assert "--" not in str(caught.value)

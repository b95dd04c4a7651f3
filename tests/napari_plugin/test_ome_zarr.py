"""The labels of an OME-Zarr picture, opened in napari beside it."""

import numpy as np
import pytest

import predict_masks
from data.draw_samples import draw_fluorescence

pytest.importorskip("napari_ome_zarr", reason="needs requirements-dev.txt")
zarr = pytest.importorskip("zarr")


def write_picture(folder, pixels, zarr_format):
    root = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if zarr_format == 2 else {}
    root.create_array("0", data=pixels[None], chunks=(1, 512, 512), **options)
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    transformations = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    scales = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transformations}]}
    if zarr_format == 2:
        root.attrs["multiscales"] = [{"version": "0.4", **scales}]
    else:
        root.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}


@pytest.mark.slow
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_lie_on_their_image(viewer, widget, wait, tmp_path, zarr_format):
    pixels = np.tile(draw_fluorescence(np.random.default_rng(0), (400, 600))[0], (3, 1))
    write_picture(tmp_path / "slide.zarr", pixels, zarr_format)
    arguments = [str(tmp_path / "slide.zarr"), "--output", str(tmp_path / "out"), "--outputs", "labels"]
    assert predict_masks.main(arguments) == 0
    (image,) = viewer.open(tmp_path / "slide.zarr", plugin="napari-ome-zarr")
    folder = tmp_path / "out" / "labels" / "slide.zarr" / "labels" / "nuclei"
    (labels,) = viewer.open(folder, plugin="napari-ome-zarr")
    assert (type(image).__name__, type(labels).__name__) == ("Image", "Labels")
    assert [level.shape for level in labels.data] == [(1200, 600), (600, 300)]
    np.testing.assert_allclose(labels.extent.world, image.extent.world)
    assert labels.units == image.units and str(labels.units[0]) == "micrometer"
    # The widget finds the same in what napari opened.
    widget.segment.native.click()
    wait(lambda: widget.segment.enabled)
    np.testing.assert_array_equal(widget.nuclei.value.data, np.asarray(labels.data[0]))
    np.testing.assert_allclose(widget.nuclei.value.extent.world, image.extent.world)
    assert "area_um2" in widget.nuclei.value.features

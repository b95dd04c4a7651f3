"""Labels of an OME-Zarr image, validated against the specification's own models and opened by its reference reader."""

import numpy as np
import pytest

import predict_masks
from data.draw_samples import draw_fluorescence

zarr = pytest.importorskip("zarr", reason="needs requirements-dev.txt")
models = pytest.importorskip("ome_zarr_models", reason="needs requirements-dev.txt")
pytest.importorskip("ome_zarr", reason="needs requirements-dev.txt")

PIXEL_SIZE_UM = 0.25


@pytest.fixture(scope="module", params=[2, 3], ids=["0.4", "0.5"])
def written(request, tmp_path_factory):
    """The Zarr version, the store with the labels, and the label map in it."""
    folder = tmp_path_factory.mktemp("zarr")
    # Larger than one level of a pyramid may be.
    pixels = np.tile(draw_fluorescence(np.random.default_rng(0), (300, 500))[0], (1, 3))
    root = zarr.open_group(str(folder / "slide.zarr"), mode="w", zarr_format=request.param)
    root.create_array("0", data=pixels, chunks=(256, 256))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    transformations = [{"type": "scale", "scale": [PIXEL_SIZE_UM, PIXEL_SIZE_UM]}]
    scales = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transformations}]}
    ome = {"multiscales": [scales | ({"version": "0.4"} if request.param == 2 else {})]}
    root.attrs.update(ome if request.param == 2 else {"ome": ome | {"version": "0.5"}})
    arguments = [str(folder / "slide.zarr"), "--output", str(folder / "out"), "--outputs", "labels"]
    assert predict_masks.main(arguments) == 0
    store = folder / "out" / "labels" / "slide.zarr"
    return request.param, store, zarr.open_array(str(store / "labels" / "nuclei" / "0"), mode="r")[:]


def test_the_models_of_the_specification_accept_it(written):
    zarr_format, store, _ = written
    version = {2: "0.4", 3: "0.5"}[zarr_format]
    listed = models.open_ome_zarr(zarr.open_group(str(store / "labels"), mode="r"))
    assert (type(listed).__name__, listed.ome_zarr_version) == ("Labels", version)
    # By its own model: one for images accepts labels, too.
    model = {2: models.v04.ImageLabel, 3: models.v05.ImageLabel}[zarr_format]
    label = model.from_zarr(zarr.open_group(str(store / "labels" / "nuclei"), mode="r"))
    attributes = label.attributes if zarr_format == 2 else label.attributes.ome
    assert attributes.image_label is not None
    (scales,) = attributes.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in scales.axes] == [
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    found = [dataset.coordinateTransformations[0].scale for dataset in scales.datasets]
    assert found == [[PIXEL_SIZE_UM] * 2, [2 * PIXEL_SIZE_UM] * 2]


def test_ome_zarr_opens_it(written):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Label, Reader

    _, store, label_map = written
    nodes = list(Reader(parse_url(str(store / "labels" / "nuclei")))())
    (node,) = (node for node in nodes if any(isinstance(spec, Label) for spec in node.specs))
    assert [level.shape for level in node.data] == [(300, 1500), (150, 750)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), label_map)
    assert label_map.max() > 50
    assert [axis["name"] for axis in node.metadata["axes"]] == ["y", "x"]
    assert node.metadata["coordinateTransformations"][0] == [{"type": "scale", "scale": [PIXEL_SIZE_UM] * 2}]

"""From a layer of napari to a picture, and from nuclei to a labels layer."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from segmentation.data.formats.pixel_size import PixelSize, credible_size
from segmentation.napari_plugin.pictures import LayerError, LayerPicture, find_channels
from segmentation.napari_plugin.segmenting import Nuclei

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels

# Nuclei that were painted after the scores were given.
_NO_SCORE = "white"


def data_of(layer: "Image | Labels") -> Any:
    """Return the array of a layer, the finest of a pyramid."""
    return layer.data[0] if layer.multiscale else layer.data


def _channel_axis(layer: "Image") -> int | None:
    return find_channels(layer.name, data_of(layer).shape, layer.rgb, layer.axis_labels)


def count_channels(layer: "Image") -> int:
    """Return how many channels of a layer there are to choose from; 0 of a grey or an RGB one."""
    axis = _channel_axis(layer)
    return 0 if axis is None else data_of(layer).shape[axis]


def show_channel(viewer: "napari.viewer.Viewer", layer: "Image", channel: int) -> None:
    """Move the slider of a layer's channels to the one with a number from 1."""
    axis = _channel_axis(layer)
    if axis is not None:
        place = layer.translate[axis] + (channel - 1) * layer.scale[axis]
        viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, place)


def picture_of(layer: "Image", channel: int | None) -> LayerPicture:
    """Return the picture of a layer, and of the channel with a number from 1; `LayerError` if there is none."""
    axis = _channel_axis(layer)
    picture = LayerPicture(layer.name, data_of(layer), layer.rgb, pixel_size_um=_pixel_size(layer))
    if axis is None:
        return picture
    count = count_channels(layer)
    if not channel or channel > count:  # the data of a layer may be replaced
        raise LayerError(f"{layer.name} has {count} channels, where one was expected: choose the one of the nuclei")
    return replace(picture, channel=channel - 1, axis=axis)


def _pixel_size(layer: "Image") -> PixelSize | None:
    """Return the size of a pixel, where the layer has a unit of length."""
    height, width = (side * unit for side, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True))
    if not (height.check("[length]") and width.check("[length]")):
        return None
    return credible_size(width.to("micrometer").magnitude, height.to("micrometer").magnitude)


def add_nuclei(viewer: "napari.viewer.Viewer", image: "Image", picture: LayerPicture, found: Nuclei) -> "Labels":
    """Add nuclei as a labels layer that lies on its image; the table is shown where the mouse is."""
    place = {name: getattr(image, name)[-2:] for name in ("scale", "translate", "units")}
    # What turns rows and columns; the last of the shears is that of columns by rows.
    place |= {"rotate": image.rotate[-2:, -2:], "shear": image.shear[-1:]}
    place["affine"] = image.affine.set_slice([image.ndim - 2, image.ndim - 1])
    return viewer.add_labels(
        found.labels,
        name=f"{picture.name} nuclei",
        features=found.table,
        multiscale=isinstance(found.labels, list),
        # What the layer needs later: the picture to save with it, and the folder of a pyramid.
        metadata={"picture": picture, "found": found.folder},
        **place,
    )


def colour_by_score(layer: "Labels", by_score: bool) -> None:
    """Colour the nuclei of a layer from dark (score 0) to yellow (score 1), or each in one of napari's colours."""
    from napari.utils.colormaps import DirectLabelColormap, ensure_colormap

    if "score" not in layer.features:
        return
    if by_score:
        colours = ensure_colormap("viridis").map(layer.features["score"].to_numpy())
        layer.metadata.setdefault("colours", layer.colormap)
        shown = dict(zip(layer.features["index"].tolist(), colours, strict=True))
        layer.colormap = DirectLabelColormap(color_dict={None: _NO_SCORE, 0: "transparent", **shown})
    elif "colours" in layer.metadata:
        layer.colormap = layer.metadata.pop("colours")

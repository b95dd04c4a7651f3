"""Write a trained network for other programs: as ONNX, or as a package of bioimage.io.

examples:
  python -m segmentation.export models/nuclei --format onnx --output nuclei.onnx
  python -m segmentation.export models/nuclei --format bioimageio --output nuclei.zip

The network takes float32 images (N, H, W, 3) with contrast stretched to 0..1, H and W multiples of the divisor in
bundle.json, and gives the channels that bundle.json names; nuclei are made from them by this project alone.

Exit status: 0 written; 2 the model or the packages that this needs are missing.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.atomic import written_whole
from segmentation.bundle import Bundle, BundleError, load_bundle, load_network
from segmentation.command_line import Parser, refuse, write_line
from segmentation.paths import sample_data
from segmentation.silence import silence_tensorflow

if TYPE_CHECKING:
    import keras

FORMATS = ("onnx", "bioimageio")

# Of the test image of a package. All of the released network's receptive field fits into it.
_TEST_SIDE = 256
_CITATION = (
    "Caicedo et al., Nucleus segmentation across imaging experiments, the 2018 Data Science Bowl, Nature Methods, 2019",
    "10.1038/s41592-019-0612-7",
)


def write_onnx(bundle: Bundle, file: Path) -> None:
    """Write the network of a bundle as ONNX, for images of any number and size; ImportError without ``tf2onnx``.

    The weights are those of ``model.keras``. ``model.bin``, which OpenVINO reads, has them in half precision, so its
    output differs by some thousandths.
    """
    with written_whole(file) as part:
        _export_onnx(_open_network(bundle), part)


def write_bioimageio(bundle: Bundle, file: Path) -> None:
    """Write the network of a bundle as a package of bioimage.io (spec 0.5), a zip, with weights of Keras and of ONNX.

    Its preprocessing stretches the contrast as we do for grey images; of colours, bioimage.io takes the percentiles of
    all channels together, where we take the least and the greatest of each. ImportError without ``bioimageio.spec``.
    """
    import tempfile

    import bioimageio.spec

    network = _open_network(bundle)
    with tempfile.TemporaryDirectory() as folder, written_whole(file) as part:
        description = _describe(bundle, network, Path(folder))
        bioimageio.spec.save_bioimageio_package(description, output_path=part)


def _open_network(bundle: Bundle) -> "keras.Model":
    with silence_tensorflow():
        network = load_network(bundle.folder)
    network(np.zeros((1, _TEST_SIDE, _TEST_SIDE, 3), np.float32))  # Keras exports only what was called
    return network


def _export_onnx(network: "keras.Model", file: Path) -> None:
    import tf2onnx  # noqa: F401  # Keras would say less clearly that it is missing

    # Keras refuses other suffixes.
    unfinished = file.with_name(f"{file.name}.onnx")
    with silence_tensorflow():
        network.export(unfinished, format="onnx", verbose=False)
    unfinished.replace(file)


def _describe(bundle: Bundle, network: "keras.Model", folder: Path) -> Any:
    """Return the description of a package, whose files are written into `folder`."""
    import keras
    import onnx
    from bioimageio.spec.model import v0_5

    from segmentation import __version__
    from segmentation.prediction.segment import segment
    from segmentation.results.overlays import write_overlay

    pixels = _test_image()
    write_overlay(folder / "cover.png", pixels, segment(pixels, model=bundle.folder))
    spec: Any = v0_5  # its models take plain values for the types that they declare
    limits = bundle.normalisation["lower_percentile"], bundle.normalisation["upper_percentile"]
    low, high = np.percentile(pixels, limits)
    image = np.repeat(pixels[None], 3, axis=-1).astype(np.float32)
    stretched = ((image - low) / (high - low + 1e-6)).clip(0, 1).astype(np.float32)
    np.save(folder / "input.npy", image)
    np.save(folder / "output.npy", np.asarray(network(stretched)))
    network.save(folder / "model.keras")
    _export_onnx(network, folder / "model.onnx")
    (folder / "README.md").write_text(_document(bundle), encoding="utf-8")

    # Smaller images have no pixel whose whole receptive field lies in them.
    halo = -(-bundle.receptive_field_radius // bundle.divisor) * bundle.divisor
    size = spec.ParameterizedSize(min=max(2 * halo + bundle.divisor, bundle.divisor), step=bundle.divisor)
    axes = "y", "x"
    preprocessing = [
        spec.ScaleRangeDescr(
            kwargs=spec.ScaleRangeKwargs(
                axes=(*axes, "channel"), min_percentile=limits[0], max_percentile=limits[1], eps=1e-6
            )
        ),
        spec.ClipDescr(kwargs=spec.ClipKwargs(min=0.0, max=1.0)),
    ]
    author, (text, doi) = spec.Author(name="The authors of nuclei-segmentation"), _CITATION
    return spec.ModelDescr(
        name="Cell nuclei U-Net",
        description="A U-Net that finds cell nuclei in fluorescence and stained light microscope images.",
        covers=[spec.FileDescr(source=folder / "cover.png")],
        documentation=spec.FileDescr(source=folder / "README.md"),
        authors=[author],
        cite=[spec.CiteEntry(text=text, doi=doi)],
        license="MIT",
        tags=["nuclei", "segmentation", "unet", "fluorescence-light-microscopy", "histology", "2d"],
        version=__version__,
        inputs=[
            spec.InputTensorDescr(
                id="image",
                description="intensities of any range; grey images are repeated in the three channels",
                axes=[
                    spec.BatchAxis(),
                    *(spec.SpaceInputAxis(id=axis, size=size) for axis in axes),
                    spec.ChannelAxis(channel_names=["red", "green", "blue"]),
                ],
                test_tensor=spec.FileDescr(source=folder / "input.npy"),
                preprocessing=preprocessing,
            )
        ],
        outputs=[
            spec.OutputTensorDescr(
                id="channels",
                description="the probability of foreground first; the others say which pixels belong to one nucleus",
                axes=[
                    spec.BatchAxis(),
                    *(
                        spec.SpaceOutputAxisWithHalo(
                            id=axis, halo=halo, size=spec.SizeReference(tensor_id="image", axis_id=axis)
                        )
                        for axis in axes
                    ),
                    spec.ChannelAxis(channel_names=list(bundle.channels)),
                ],
                test_tensor=spec.FileDescr(source=folder / "output.npy"),
            )
        ],
        weights=spec.WeightsDescr(
            keras_v3=spec.KerasV3WeightsDescr(
                source=folder / "model.keras",
                authors=[author],
                keras_version=keras.__version__,
                backend=("tensorflow", version("tensorflow")),  # like that of Keras, what made the test's output
            ),
            onnx=spec.OnnxWeightsDescr(
                source=folder / "model.onnx",
                parent="keras_v3",
                opset_version=onnx.load(folder / "model.onnx").opset_import[0].version,
            ),
        ),
    )


def _test_image() -> np.ndarray:
    """Return a drawn grey image that comes with the package, (H, W, 1) uint8."""
    from segmentation.data.images import read_image

    file = sample_data() / "test" / "images" / "fluorescence_01.png"
    return read_image(file).pixels[:_TEST_SIDE, :_TEST_SIDE]


def _document(bundle: Bundle) -> str:
    scores = bundle.scores.get("figures", {})
    figures = ", ".join(f"{name} {figure['value']:.3f}" for name, figure in scores.items() if name in ("dice", "ap50"))
    return f"""# Cell nuclei

A U-Net that tells cell nuclei apart, trained on {bundle.training.get("data", "nuclei")}.

Output channels: {", ".join(bundle.channels)}. The first is the probability that a pixel belongs to a nucleus; the
threshold chosen on the validation images is {bundle.thresholds["foreground"]:g}. The project nuclei-segmentation makes
label maps of all channels together.

# Validation

On {bundle.scores.get("images", "the")} validation images that were not trained on: {figures or "not measured"}.
The network expects nuclei of about {bundle.diameter:g} pixels: rescale images in which they are far larger or smaller.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a model from the command line; return the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of the model")
    parser.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file to write, .onnx or .zip")
    options = parser.parse_args(arguments)
    suffix = ".onnx" if options.format == "onnx" else ".zip"
    if options.output.suffix != suffix:
        parser.error(f"--output is {options.output}, where a file with the suffix {suffix} was expected")
    write = write_onnx if options.format == "onnx" else write_bioimageio
    try:
        write(load_bundle(options.model), options.output)
    except ModuleNotFoundError as error:
        sentence = f"the package {error.name} is not installed; run: pip install -r requirements/export.txt"
        return refuse("export", ImportError(sentence))
    except BundleError as error:
        return refuse("export", error)
    except OSError as error:
        # The name in the error is that of an unfinished file.
        return refuse("export", OSError(f"{options.output} cannot be written ({error.strerror})"))
    write_line(f"wrote {options.output}", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A bundle small enough for tests: bright is foreground, looked at through a pooling layer."""

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13

from segmentation.bundle import Bundle, write_bundle

DIVISOR = 2
# Two 3x3 convolutions, and a pixel to either side of a pooled pair.
RADIUS = 4


def write_tiny_bundle(folder: Path, targets: str = "centre_offsets", **fields) -> Bundle:
    """Write a bundle whose network gives four channels: probability of foreground, two zeros, and threes."""
    folder.mkdir(parents=True)
    image = opset13.parameter([-1, -1, -1, 3], np.float32, name="image")
    x = opset13.transpose(image, opset13.constant(np.array([0, 3, 1, 2])))
    x = _convolve(x, np.full((1, 3, 3, 3), 1 / 27, np.float32))
    pooled = opset13.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    back = opset13.convolution_backprop_data(
        pooled, opset13.constant(np.ones((1, 1, 2, 2), np.float32)), strides=[2, 2]
    )
    x = opset13.concat([x, back], axis=1)
    weights = np.zeros((4, 2, 3, 3), np.float32)
    weights[0] = 1 / 18
    x = _convolve(x, weights)
    slope = np.array([20, 0, 0, 0], np.float32).reshape(1, 4, 1, 1)
    foreground = opset13.sigmoid(
        opset13.subtract(opset13.multiply(x, opset13.constant(slope)), opset13.constant(np.float32(8)))
    )
    gate = np.array([1, 0, 0, 0], np.float32).reshape(1, 4, 1, 1)
    offset = np.array([0, 0, 0, 3], np.float32).reshape(1, 4, 1, 1)
    x = opset13.add(opset13.multiply(foreground, opset13.constant(gate)), opset13.constant(offset))
    x = opset13.transpose(x, opset13.constant(np.array([0, 2, 3, 1])))
    openvino.save_model(openvino.Model([x], [image], "tiny"), folder / "model.xml", compress_to_fp16=False)
    (folder / "model.keras").write_bytes(b"not looked into by these tests")
    bundle = Bundle(
        folder=folder,
        **{
            "targets": targets,
            "channels": ("foreground", "row_offset", "column_offset", "log_radius"),
            "normalisation": {"lower_percentile": 1.0, "upper_percentile": 99.9},
            "diameter": 20.0,
            "receptive_field_radius": RADIUS,
            "divisor": DIVISOR,
            "thresholds": {"foreground": 0.5},
            "min_area": 0,
            "precisions": {"f32": {}},
            "training": {},
            "scores": {},
        }
        | fields,
    )
    write_bundle(bundle)
    return bundle


def _convolve(x, weights: np.ndarray):
    return opset13.convolution(x, opset13.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])

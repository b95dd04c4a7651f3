"""Writes small files as microscopes do, for tests."""

import struct
from pathlib import Path

import numpy as np
import tifffile


def write_lif(file: Path, images: dict[str, np.ndarray], pixel_size_um: float = 0.5) -> None:
    """Write images of (T, Z, C, Y, X), or (Y, X, 3) in colours, uint8 or uint16, as Leica's LAS does."""
    elements, blocks = "", b""
    for number, (name, pixels) in enumerate(images.items()):
        if pixels.ndim == 3:
            stored, channels, axes = pixels, 3, {"1": (1, 3), "2": (0, 3 * pixels.shape[1])}
            steps = [(tag, step) for tag, step in ((1, 0), (2, 1), (3, 2))]
        else:
            stored, channels = pixels, pixels.shape[2]
            rows, columns = pixels.shape[3:]
            axes = {"1": (4, 1), "2": (3, columns), "3": (1, rows * columns * channels)}
            axes["4"] = (0, rows * columns * channels * pixels.shape[1])
            steps = [(0, rows * columns * channel) for channel in range(channels)]
        size = pixels.itemsize
        described = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="{tag}" Resolution="{8 * size}" NameOfMeasuredQuantity="" '
            f'Min="0" Max="1" Unit="" LUTName="{"Blue Green Red".split()[index % 3]}" IsLUTInverted="0" '
            f'BytesInc="{step * size}" BitInc="0" />'
            for index, (tag, step) in enumerate(steps)
        )
        extents = "".join(
            f'<DimensionDescription DimID="{key}" NumberOfElements="{stored.shape[axis]}" Origin="0" '
            f'Length="{(stored.shape[axis] - 1) * pixel_size_um * 1e-6}" Unit="m" BitInc="0" '
            f'BytesInc="{step * size}" />'
            for key, (axis, step) in axes.items()
        )
        elements += (
            f'<Element Name="{name}" UniqueID="{number}">'
            f'<Memory Size="{stored.nbytes}" MemoryBlockID="MemBlock_{number}" />'
            f"<Data><Image><ImageDescription><Channels>{described}</Channels><Dimensions>{extents}</Dimensions>"
            "</ImageDescription></Image></Data></Element>"
        )
        label = f"MemBlock_{number}".encode("utf-16-le")
        head = struct.pack("<BQBI", 0x2A, stored.nbytes, 0x2A, len(label) // 2) + label
        blocks += struct.pack("<II", 0x70, len(head)) + head + stored.tobytes()
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="test" UniqueID="x"><Memory Size="0" MemoryBlockID="" />'
        f"<Data><Experiment /></Data><Children>{elements}</Children></Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    file.write_bytes(struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2) + xml + blocks)


def write_oif(file: Path, planes: np.ndarray, names: list[str], pixel_size_um: float = 0.25) -> None:
    """Write planes of (C, Z, Y, X), uint16, as Olympus' FluoView does: a file of settings and a folder of TIFFs."""
    channels, depth, height, width = planes.shape
    lines = ["[ProfileSaveInfo]", 'Name="OIF"', 'Version="1"', "[Axis Parameter Common]", 'AxisOrder="XYCZ"']
    lengths = {"X": width, "Y": height, "C": channels, "Z": depth}
    for number, (axis, length) in enumerate((lengths | dict.fromkeys("TABW", 0)).items()):
        lines += [f"[Axis {number} Parameters Common]", f'AxisCode="{axis}"', f"MaxSize={length}", 'UnitName="um"']
        lines += ["StartPosition=0.0", f"EndPosition={length * pixel_size_um}"]
    for number, name in enumerate(names, 1):
        lines += [f"[Channel {number} Parameters]", f'CH Name="{name}"']
    lines += ["[Reference Image Parameter]", "ValidBitCounts=12"]
    file.write_bytes("\r\n".join(lines).encode("utf-16"))
    folder = file.with_name(f"{file.name}.files")
    folder.mkdir()
    for channel, plane in np.ndindex(channels, depth):
        tifffile.imwrite(folder / f"s_C{channel + 1:03}Z{plane + 1:03}.tif", planes[channel, plane])

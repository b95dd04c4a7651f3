"""Writes small files as microscopes do, for tests."""

import io
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
    folder = file.with_name(f"{file.name}.files")
    folder.mkdir()
    file.write_bytes(_oif_settings(planes.shape, names, pixel_size_um))
    for channel, plane in np.ndindex(*planes.shape[:2]):
        tifffile.imwrite(folder / _oif_name(channel, plane), planes[channel, plane])


def write_oib(file: Path, planes: np.ndarray, names: list[str], pixel_size_um: float = 0.25) -> None:
    """Write the same as a compound file (MS-CFB): settings that name the streams, and a storage with the TIFFs."""
    streams, info = {}, ["[OibSaveInfo]", 'Name="OIB"', 'Version="2.0.0.0"', 'Storage00001="a.oif.files"']
    for number, (channel, plane) in enumerate(np.ndindex(*planes.shape[:2]), 1):
        content = io.BytesIO()
        tifffile.imwrite(content, planes[channel, plane])
        streams[f"Stream{number:05}"] = content.getvalue()
        info.append(f'Stream{number:05}="Storage00001/{_oif_name(channel, plane)}"')
    info += ['Stream00000="a.oif"', "MainFileName=Stream00000"]
    settings = {
        "OibInfo.txt": "\r\n".join(info).encode("utf-16"),
        "Stream00000": _oif_settings(planes.shape, names, pixel_size_um),
    }
    file.write_bytes(_compound_file(settings, "Storage00001", streams))


def _compound_file(settings: dict[str, bytes], storage: str, streams: dict[str, bytes]) -> bytes:
    """Return a compound file of version 3 with the settings in its root, and the streams in a storage of their own.

    Streams of less than 4,096 bytes lie in sectors of 64 bytes in the mini stream, those of the root entry.
    """
    end, unused, sector = 0xFFFFFFFE, 0xFFFFFFFF, 512
    fat, mini_fat, data, mini = [], [], bytearray(), bytearray()

    def store(content: bytes, table: list[int], into: bytearray, size: int) -> int:
        first, count = len(table), -(-len(content) // size)
        table += [*range(first + 1, first + count), end] if count else []
        into += content.ljust(count * size, b"\0")
        return first if count else end

    def entry(name: str, kind: int, right: int = unused, child: int = unused, first: int = end, size: int = 0) -> bytes:
        encoded = f"{name}\0".encode("utf-16-le")
        links = struct.pack("<64sHBBIII", encoded, len(encoded), kind, 1, unused, right, child)
        return links + bytes(16 + 4 + 8 + 8) + struct.pack("<IQ", first, size)

    def of_streams(contents: dict[str, bytes], first_number: int, last: int) -> list[bytes]:
        entries = []
        for number, (name, content) in enumerate(contents.items(), first_number + 1):
            small = len(content) < 4096
            first = store(content, *((mini_fat, mini, 64) if small else (fat, data, sector)))
            right = number if number < first_number + len(contents) else last
            entries.append(entry(name, 2, right, first=first, size=len(content)))
        return entries

    after = 1 + len(settings)
    entries = of_streams(settings, 1, after)
    entries += [entry(storage, 1, child=after + 1), *of_streams(streams, after + 1, unused)]
    root = entry("Root Entry", 5, child=1, first=store(bytes(mini), fat, data, sector), size=len(mini))
    directory = store(b"".join([root, *entries]), fat, data, sector)
    minis = struct.pack(f"<{len(mini_fat)}I", *mini_fat)
    mini_table = store(minis.ljust(-(-len(minis) // sector) * sector, b"\xff"), fat, data, sector)
    tables = 1
    while (len(fat) + tables) * 4 > tables * sector:
        tables += 1
    places = [*range(len(fat), len(fat) + tables)]
    fat += [0xFFFFFFFD] * tables
    data += struct.pack(f"<{len(fat)}I", *fat).ljust(tables * sector, b"\xff")
    header = struct.pack("<8s16sHHHHH6xI", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, 0)
    header += struct.pack("<IIIIIIII", tables, directory, 0, 4096, mini_table, -(-len(minis) // sector), end, 0)
    return header + struct.pack("<109I", *places, *[unused] * (109 - tables)) + data


def _oif_name(channel: int, plane: int) -> str:
    return f"s_C{channel + 1:03}Z{plane + 1:03}.tif"


def _oif_settings(shape: tuple[int, ...], names: list[str], pixel_size_um: float) -> bytes:
    channels, depth, height, width = shape
    lines = ["[ProfileSaveInfo]", 'Name="OIF"', 'Version="1"', "[Axis Parameter Common]", 'AxisOrder="XYCZ"']
    lengths = {"X": width, "Y": height, "C": channels, "Z": depth}
    for number, (axis, length) in enumerate((lengths | dict.fromkeys("TABW", 0)).items()):
        lines += [f"[Axis {number} Parameters Common]", f'AxisCode="{axis}"', f"MaxSize={length}", 'UnitName="um"']
        lines += ["StartPosition=0.0", f"EndPosition={length * pixel_size_um}"]
    for number, name in enumerate(names, 1):
        lines += [f"[Channel {number} Parameters]", f'CH Name="{name}"']
    lines += ["[Reference Image Parameter]", "ValidBitCounts=12"]
    return "\r\n".join(lines).encode("utf-16")

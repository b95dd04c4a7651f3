"""Small pictures in every format that is read, and ways to damage them, for `fuzz.py`.

An input is a dictionary of relative paths and contents: one file, or the files of a folder.
"""

import io
import json
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np

Files = dict[str, bytes]

# Where readers go wrong: at the ends of the integers, at signs, at sizes that no memory holds.
_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    255,
    256,
    65_535,
    65_536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2_000_000_000,
    10**12,
    2**63,
    2**64 - 1,
)
_JSON_VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    float("nan"),
    float("inf"),
    2**31,
    10**12,
    "",
    "no",
    "../x",
    [],
    {},
    [[[]]],
)


def make_inputs(folder: Path) -> dict[str, list[Files]]:
    """Make the inputs of each format; `folder` is for temporary files."""
    import cv2
    import imagecodecs
    import tifffile

    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (48, 56), np.uint8)
    colour, deep = rng.integers(0, 255, (48, 56, 3), np.uint8), rng.integers(0, 65_535, (48, 56), np.uint16)

    def tiff(pixels: np.ndarray, name: str = "image.tif", **options) -> Files:
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels, **{"metadata": None} | options)
        return {name: stream.getvalue()}

    def encoded(suffix: str, pixels: np.ndarray, *options: int) -> Files:
        return {f"image{suffix}": cv2.imencode(suffix, pixels, options)[1].tobytes()}

    def as_npy(pixels: np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.save(stream, pixels)
        return stream.getvalue()

    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        writer.write(grey, subifds=1, metadata=None)
        writer.write(grey[::2, ::2], subfiletype=1, metadata=None)
        writer.write(grey[::4, ::4], subfiletype=1, metadata=None)
    ome = {"photometric": "minisblack", "metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI"]}}, "ome": True}
    inputs = {
        "tiff": [
            *(tiff(pixels) for pixels in (grey, deep, deep.astype(np.float32))),
            *(tiff(grey, tile=(16, 32), compression=name) for name in ("zlib", "lzw", "zstd", "png", "jpeg2000")),
            tiff(colour, photometric="rgb", compression="jpeg", rowsperstrip=16),
            tiff(deep, compression="zlib", predictor=True, rowsperstrip=7, byteorder=">"),
            tiff(grey, photometric="palette", colormap=rng.integers(0, 65_535, (3, 256), np.uint16)),
            tiff(deep[None], imagej=True, metadata={"axes": "ZYX"}),
            {"image.tif": pages.getvalue()},
        ],
        "bigtiff": [
            tiff(deep, bigtiff=True),
            tiff(colour, bigtiff=True, tile=(16, 16), compression="zlib", byteorder=">"),
        ],
        "ome-tiff": [tiff(grey[None], "image.ome.tif", **ome), {"image.ome.tif": _two_files(grey)}],
        "png": [encoded(".png", pixels) for pixels in (grey, deep, colour)],
        "jpeg": [
            encoded(".jpg", grey),
            encoded(".jpg", colour),
            encoded(".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        ],
        "bmp": [
            encoded(".bmp", grey),
            encoded(".bmp", colour),
            {"image.dib": encoded(".bmp", grey)["image.bmp"][14:]},
        ],
        "gif": [{"image.gif": imagecodecs.gif_encode(grey)}],
        "webp": [
            {"image.webp": imagecodecs.webp_encode(colour, lossless=True)},
            {"image.webp": imagecodecs.webp_encode(colour, level=70)},
        ],
        "npy": [{"image.npy": as_npy(grey)}, {"image.npy": as_npy(deep)}, {"image.npy": as_npy(colour.astype(float))}],
        "jpeg2000": [{"image.jp2": imagecodecs.jpeg2k_encode(colour)}, {"image.j2k": imagecodecs.jpeg2k_encode(deep)}],
        "slides": _slides(folder, colour),
        "vendor": _vendor_files(folder, deep),
        "zarr": [_zarr(folder / "2.zarr", deep, 2), _zarr(folder / "3.zarr", deep, 3)],
        "bundle": [_bundle(folder / "model")],
    }
    # Interlaced, and with a palette, which OpenCV does not write.
    from PIL import Image

    for picture, options in ((Image.fromarray(colour).quantize(16), {}), (Image.fromarray(grey), {"bits": 4})):
        stream = io.BytesIO()
        picture.save(stream, "png", **options)
        inputs["png"].append({"image.png": stream.getvalue()})
    return inputs


def _two_files(grey: np.ndarray) -> bytes:
    """An OME-TIFF whose second channel lies in another file."""
    import tifffile

    uuid = "urn:uuid:11111111-1111-1111-1111-11111111111"
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="{name}">{uuid}{c}</UUID></TiffData>'
        for c, name in enumerate(("image.ome.tif", "second.ome.tif"))
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}0">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="56" SizeY="48" SizeC="2" '
        f'SizeZ="1" SizeT="1">{planes}</Pixels></Image></OME>'
    )
    stream = io.BytesIO()
    tifffile.imwrite(stream, grey, description=xml.encode(), metadata=None)
    return stream.getvalue()


def _slides(folder: Path, colour: np.ndarray) -> list[Files]:
    """Draw slides of Hamamatsu, Leica and Aperio, an LSM and an STK."""
    import imagecodecs

    from tests.data.formats.slide_files import SCAN, write_jpeg2000, write_lsm, write_ndpi, write_scn, write_stk

    tile = np.ascontiguousarray(colour[:48, :48])
    scan = np.tile(colour, (1, 2, 1))[:, :64]  # whole intervals of the JPEG, as scanners write
    write_ndpi(folder / "image.ndpi", {20.0: scan, 10.0: scan[::2, ::2].copy(), -1.0: tile}, per_cm=20_000)
    write_scn(folder / "image.scn", colour, [SCAN.format(28_000, 1, 2, 24_000)])
    streams = [imagecodecs.jpeg2k_encode(tile, level=0, mct=False, codecformat="j2k")] * 2
    write_jpeg2000(folder / "image.svs", streams, (48, 96, 3))
    write_lsm(folder / "image.lsm", np.tile(np.moveaxis(colour, -1, 0), (2, 1, 1, 1)), side_um=0.2)
    write_stk(folder / "image.stk", np.tile(colour[..., 0].astype(np.uint16), (3, 1, 1)))
    suffixes = ".ndpi", ".scn", ".svs", ".lsm", ".stk"
    return [{f"image{suffix}": (folder / f"image{suffix}").read_bytes()} for suffix in suffixes]


def _vendor_files(folder: Path, deep: np.ndarray) -> list[Files]:
    """Draw a LIF and an OIB, and take what there is of others in the folder that MICROSCOPES_DIR names."""
    from tests.data.formats.vendor_files import write_lif, write_oib

    write_lif(folder / "image.lif", {"a": np.tile(deep, (2, 3, 1, 1, 1)), "b": np.tile(deep, (1, 1, 2, 1, 1))})
    write_oib(folder / "image.oib", np.tile(deep, (2, 2, 1, 1)), ["CHS1", "CHS2"])
    real = Path(os.environ.get("MICROSCOPES_DIR", folder))
    found = [file for file in sorted(real.iterdir()) if file.suffix in (".czi", ".nd2")]
    return [{f"image{file.suffix}": file.read_bytes()} for file in (folder / "image.lif", folder / "image.oib", *found)]


def _zarr(folder: Path, pixels: np.ndarray, version: int) -> Files:
    import zarr

    root = zarr.open_group(str(folder), mode="w", zarr_format=version)
    for level in range(2):
        own = pixels[:: 2**level, :: 2**level]
        array = root.create_array(str(level), shape=own.shape, chunks=(16, 32), dtype=own.dtype)
        array[:] = own
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    levels = [
        {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [0.5 * 2**level] * 2}]}
        for level in range(2)
    ]
    described = {"multiscales": [{"version": "0.4" if version == 2 else "0.5", "axes": axes, "datasets": levels}]}
    root.attrs.update(described if version == 2 else {"ome": {"version": "0.5"} | described})
    return read_files(folder)


def _bundle(folder: Path) -> Files:
    from tests.prediction.tiny_model import write_tiny_bundle

    write_tiny_bundle(folder)
    return read_files(folder)


def read_files(folder: Path) -> Files:
    """Return the files of a folder as an input whose folder has the same name."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder.parent)): file.read_bytes() for file in files}


def mutate(files: Files, rng: np.random.Generator) -> Files:
    """Damage an input in one, two or four places; half the time repair the checksums, so that damage gets past them."""
    files = dict(files)
    for _ in range(rng.choice([1, 1, 2, 4])):
        name = str(rng.choice([*files]))
        content = files[name]
        ways = [flip, truncate, swap_blocks, change_integer, change_digits, repeat_block]
        if content[:2] in (b"II", b"MM"):
            ways += [change_tag, link_pages] * 3
        if content[:1] == b"{":
            ways = [change_json, change_json, change_json, change_digits, flip]
        if b"FileName" in content:
            ways += [change_name] * 3
        if content:
            files[name] = ways[rng.integers(len(ways))](content, rng)
    if rng.random() < 0.05 and len(files) > 1:
        del files[str(rng.choice([*files]))]
    return repair(files) if rng.random() < 0.5 else files


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in _places(content, rng, rng.integers(1, 9)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def swap_blocks(content: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = sorted(int(place) for place in rng.integers(0, len(content) + 1, 3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def repeat_block(content: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    return content[:b] + content[a:b] * int(rng.integers(0, 4)) + content[b:]


def change_integer(content: bytes, rng: np.random.Generator) -> bytes:
    (place,) = _places(content, rng, 1)
    return _write(content, place, int(rng.choice([1, 2, 4, 8])), _number(content, rng), str(rng.choice(["<", ">"])))


def change_digits(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a number that is written in ASCII, as in XML and JSON."""
    found = [*re.finditer(rb"\d+", content)]
    if not found:
        return flip(content, rng)
    match = found[rng.integers(len(found))]
    return content[: match.start()] + str(_number(content, rng)).encode() + content[match.end() :]


def change_name(content: bytes, rng: np.random.Generator) -> bytes:
    """Let an OME-TIFF name another file: above it, a pipe that `fuzz.py` puts beside it, or by its full path."""
    found = [*re.finditer(rb'FileName="([^"]*)"', content)]
    if not found:
        return content
    match = found[rng.integers(len(found))]
    name = rng.choice(["../secret.tif", "pipe", "beside.tif", "/dev/zero", "/proc/self/mem", ".", "", "image.ome.tif"])
    return content[: match.start(1)] + str(name).encode() + content[match.end(1) :]


def change_tag(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the code, the type, the count or the value of a tag of a TIFF."""
    order, size, entries, _ = _tiff(content)
    if not entries:
        return flip(content, rng)
    start = entries[rng.integers(len(entries))]
    parts = [(0, 2), (2, 2), (4, size), (4 + size, size), (4 + size, size), (4 + size, size)]
    place, length = parts[rng.integers(len(parts))]
    return _write(content, start + place, length, _number(content, rng), order)


def link_pages(content: bytes, rng: np.random.Generator) -> bytes:
    """Let a page of a TIFF be followed by an earlier one, by itself, or by what is none."""
    order, size, entries, links = _tiff(content)
    if not links:
        return flip(content, rng)
    targets = [place for place, _ in links] + [_number(content, rng), links[0][0]]
    return _write(content, links[rng.integers(len(links))][1], size, targets[rng.integers(len(targets))], order)


def change_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace, remove or nest a value of a JSON document."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return flip(content, rng)
    places: list = []

    def visit(node) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                visit(node[key])

    if isinstance(document, (dict, list)):
        visit(document)
    if not places:
        return flip(content, rng)
    node, key = places[rng.integers(len(places))]
    way = rng.integers(8)
    if way == 0:
        del node[key]
    elif way == 1:
        return json.dumps(document).encode().replace(json.dumps(node[key]).encode(), b"[" * 5_000, 1)
    elif way == 2 and isinstance(node[key], (int, float)):
        node[key] = node[key] * float(rng.choice([-1, 0, 0.5, 1e6, 1e300]))
    else:
        node[key] = _JSON_VALUES[rng.integers(len(_JSON_VALUES))]
    return json.dumps(document).encode()


def repair(files: Files) -> Files:
    """Compute the checksums of PNG chunks and of the files of a bundle again."""
    import hashlib

    repaired = {name: _png_checksums(c) if c.startswith(b"\x89PNG") else c for name, c in files.items()}
    for name, content in repaired.items():
        if name.endswith("bundle.json"):
            try:
                described = json.loads(content)
                for own in described["files"]:
                    described["files"][own] = hashlib.sha256(repaired[name.replace("bundle.json", own)]).hexdigest()
                repaired[name] = json.dumps(described).encode()
            except (ValueError, LookupError, TypeError, RecursionError):
                pass
    return repaired


def _png_checksums(content: bytes) -> bytes:
    parts, place = [content[:8]], 8
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        parts += [content[place:end], zlib.crc32(content[place + 4 : end]).to_bytes(4, "big")]
        place = end + 4
    return b"".join(parts) + content[place:]


def _places(content: bytes, rng: np.random.Generator, count: int) -> list[int]:
    """Choose places anywhere, or at the ends, where headers lie."""
    ends = np.minimum(rng.integers(0, 600, count), len(content) - 1)
    chosen = [rng.integers(0, len(content), count), ends, len(content) - 1 - ends][rng.integers(3)]
    return [int(place) for place in chosen]


def _number(content: bytes, rng: np.random.Generator) -> int:
    near = [len(content), int(rng.integers(len(content) + 1)), int(rng.integers(1, 100))]
    return [*_NUMBERS, *near, *near][rng.integers(len(_NUMBERS) + 2 * len(near))]


def _write(content: bytes, place: int, length: int, number: int, order: str) -> bytes:
    number %= 1 << (8 * length)
    return content[:place] + number.to_bytes(length, "little" if order == "<" else "big") + content[place + length :]


def _tiff(content: bytes) -> tuple[str, int, list[int], list[tuple[int, int]]]:
    """Return the byte order, the size of an offset, the places of all tags, and of each page and its link."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    size, step, entries, links = (8, 20, [], []) if big else (4, 12, [], [])
    try:
        link = 8 if big else 4
        for _ in range(20):
            (page,) = struct.unpack_from(order + ("Q" if big else "I"), content, link)
            if not page:
                break
            (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, page)
            first = page + (8 if big else 2)
            link = first + step * count
            if link + size > len(content):
                break
            entries += range(first, link, step)
            links.append((page, link))
    except (struct.error, OverflowError):
        pass
    return order, size, entries, links

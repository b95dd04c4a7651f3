"""Write small files in the layouts of slide scanners, and of a microscope whose files are TIFF."""

import io
import struct

import numpy as np
import tifffile
from PIL import Image as Pillow

APERIO = "Aperio Image Library v11.2.1\r\n960x768 (240x240) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990"
SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="s"
 sizeX="26564529" sizeY="76734147"><image name="image_0000000000"><pixels sizeX="80" sizeY="231"><dimension sizeX="80"
 sizeY="231" r="0" ifd="0"/></pixels><view sizeX="26564529" sizeY="76734147" offsetX="0" offsetY="0"/></image>{}
</collection></scn>"""
SCAN = """<image name="image_{1:010}"><pixels sizeX="320" sizeY="256"><dimension sizeX="320" sizeY="256" r="0"
 ifd="{1}"/><dimension sizeX="160" sizeY="128" r="1" ifd="{2}"/></pixels><view sizeX="{0}" sizeY="{3}" offsetX="9"
 offsetY="9"/></image>"""
TILE = 32  # pixels across, of an NDPI; its tiles are 8 pixels high


def write_ndpi(file, pictures, per_cm=None):
    """Write the pictures, (H, W, 3) uint8 by magnification, as an NDPI, which no library writes: a JPEG a page.

    Offsets have 64 bits: 8 bytes in the header and after the tags of a page, and 4 more bytes for each tag.
    """
    data = io.BytesIO()
    data.write(b"II*\0" + bytes(8))
    link = 4
    for magnification, picture in pictures.items():
        height, width = picture.shape[:2]
        stream, starts = _jpeg(picture)
        stream_at = data.tell()
        data.write(stream)
        starts_at = data.tell()
        data.write(struct.pack(f"<{len(starts)}I", *starts))
        bits_at = data.tell()
        data.write(struct.pack("<3H", 8, 8, 8))
        density_at = data.tell()
        data.write(struct.pack("<2I", per_cm or 0, 1))
        make_at = data.tell()
        data.write(b"Hamamatsu\0")
        tags = [
            (254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 7),
            (262, 3, 1, 6), (271, 2, 10, make_at), (273, 4, 1, stream_at), (277, 3, 1, 3), (278, 4, 1, height),
            (279, 4, 1, len(stream)), (282, 5, 1, density_at), (283, 5, 1, density_at), (284, 3, 1, 1), (296, 3, 1, 3),
            (65420, 4, 1, 1), (65421, 11, 1, struct.unpack("<I", struct.pack("<f", magnification))[0]),
            (65426, 4, len(starts), starts_at if len(starts) > 1 else starts[0]),
        ]  # fmt: skip
        page_at = data.tell()
        data.write(struct.pack("<H", len(tags)))
        for tag in tags:
            data.write(struct.pack("<HHII", *tag))
        next_link = data.tell()
        data.write(bytes(8 + 4 * len(tags)))
        data.seek(link)
        data.write(struct.pack("<Q", page_at))
        data.seek(0, io.SEEK_END)
        link = next_link
    file.write_bytes(data.getvalue())


def _jpeg(picture: np.ndarray) -> tuple[bytes, list[int]]:
    """Encode a picture with a restart marker every `TILE` pixels; return where each tile starts, too."""
    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0, restart_marker_blocks=TILE // 8)
    stream = buffer.getvalue()
    scan = stream.index(b"\xff\xda")
    first = scan + 2 + int.from_bytes(stream[scan + 2 : scan + 4], "big")
    marks = [at for at in range(first, len(stream) - 1) if stream[at] == 0xFF and 0xD0 <= stream[at + 1] <= 0xD7]
    return stream, [first, *(at + 2 for at in marks)]


def write_scn(file, slide, scans):
    """Write an overview, and for each of the scans, `SCAN` filled in, the slide and its half."""
    with tifffile.TiffWriter(file, bigtiff=True) as tiff:
        options = {"tile": (64, 64), "photometric": "rgb", "metadata": None, "resolution": (72, 72)}
        tiff.write(np.zeros((231, 80, 3), np.uint8), description=SCN.format("".join(scans)), **options)
        for _ in scans:
            tiff.write(slide, **options)
            tiff.write(slide[::2, ::2].copy(), **options)


def write_jpeg2000(file, streams, shape, photometric="rgb", compression=33003):
    """Write code streams of JPEG 2000 as the tiles of an Aperio slide, side by side."""
    options = {"photometric": photometric, "compression": compression, "description": APERIO, "metadata": None}
    tifffile.imwrite(file, iter(streams), shape=shape, dtype=np.uint8, tile=(shape[0], shape[0]), **options)


def write_lsm(file, stack, side_um):
    """Write planes in Z, (Z, C, H, W) uint8, as Zeiss's LSM: a page and its thumbnail for each, channels as samples."""
    depth, channels, height, width = stack.shape
    sides = (side_um * 1e-6, side_um * 1e-6, 1e-6)
    info = struct.pack("<Ii8i3d", 67127628, 512, width, height, depth, channels, 1, 1, 2, 2, *sides).ljust(512, b"\0")
    with tifffile.TiffWriter(file, byteorder="<") as tiff:
        options = {"photometric": "minisblack", "planarconfig": "separate", "metadata": None}
        for index, plane in enumerate(stack):
            tags = [(34412, 1, len(info), info, True)] if index == 0 else []
            tiff.write(plane, extratags=tags, **options)
            tiff.write(plane[:, ::2, ::2].copy(), subfiletype=1, **options)


def write_stk(file, planes, per_z=1, calibration=0.25):
    """Write (N, H, W) uint16 planes as a MetaMorph stack: one page, and the data of all planes after one another.

    Its tag UIC2 counts the planes, and gives the distance in Z and the time of each; UIC1 the size of a pixel.
    """
    count, height, width = planes.shape
    starts_at = 8 + 2 + 11 * 12 + 4
    strips = [(first * width * 2, min(16, height - first) * width * 2) for first in range(0, height, 16)]
    uic1_at = starts_at + 8 * len(strips)
    side_at, unit_at, uic2_at = uic1_at + 24, uic1_at + 32, uic1_at + 40
    data_at = uic2_at + 24 * count
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, len(strips), starts_at), (277, 3, 1, 1), (278, 4, 1, 16),
        (279, 4, len(strips), starts_at + 4 * len(strips)), (33628, 4, 3, uic1_at), (33629, 5, count, uic2_at),
    ]  # fmt: skip
    parts = [b"II*\0\x08\0\0\0", struct.pack("<H", len(tags)), *(struct.pack("<HHII", *tag) for tag in tags), bytes(4)]
    parts += [struct.pack("<I", data_at + start) for start, _ in strips]
    parts += [struct.pack("<I", size) for _, size in strips]
    parts += [struct.pack("<6I", 4, side_at, 5, side_at, 6, unit_at)]  # calibration along x, along y, and its unit
    parts += [struct.pack("<2I", round(calibration * 1000), 1000), struct.pack("<I4s", 3, b"um\0\0")]
    parts += [struct.pack("<6I", per_z, 1, 2_450_000, 1000 * n, 2_450_000, 1000 * n) for n in range(count)]
    file.write_bytes(b"".join(parts) + planes.astype("<u2").tobytes())

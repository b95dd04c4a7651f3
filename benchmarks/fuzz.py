#!/usr/bin/env python3
"""Read damaged pictures and models, each in a process of its own, and keep those that are not refused in a sentence.

    python benchmarks/fuzz.py --count 20000 --seed 1
    python benchmarks/fuzz.py --formats tiff ome-tiff zarr --seed 7 --first 123 --count 1   # one case again

A picture must give an image or one sentence, a model must work or be refused in one sentence with exit status 2: within
5 seconds (30 for a model) and a gigabyte more than the process has, without any other output, and without opening a
file outside its folder. What does anything else is printed with its seed and number and kept in --keep. Exit status: 1
if there was any. Needs Linux.
"""

import argparse
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE / "benchmarks")]

from mutations import Files, make_inputs, mutate

FORMATS = (
    *(
        "tiff",
        "bigtiff",
        "ome-tiff",
        "png",
        "jpeg",
        "bmp",
        "jpeg2000",
        "zarr",
        "gif",
        "webp",
        "npy",
        "slides",
        "vendor",
    ),
    "bundle",
)
MEMORY = 1 << 30
SECONDS, MODEL_SECONDS = 5, 30
_MARK = b"\n\0outcome "
# What a process may open besides its input: libraries and what the system tells about itself.
_LIBRARIES = tuple(
    {
        sys.prefix,
        os.path.realpath(sys.prefix),
        sys.base_prefix,
        str(HERE),
        "/usr",
        "/lib",
        "/etc/ld",
        "/sys",
        "/proc/",
        "/dev/null",
        "/dev/urandom",
    }
)


def read_picture(file: Path) -> str:
    """Read a picture in every way there is; return "image" or the sentence that refuses it."""
    from segmentation.data.formats.planes import Planes
    from segmentation.data.images import ImageError, read_image
    from segmentation.data.label_maps import read_label_map
    from segmentation.data.large import open_large

    def by_blocks(file: Path) -> None:
        large = open_large(file, largest_whole=0)
        for _ in large.blocks() if large else ():
            pass

    def plane(file: Path) -> None:
        read_image(file, "1", Planes("max", series=0, frame=0))

    outcome = "image"
    for read in (by_blocks,) if file.is_dir() else (read_image, read_label_map, by_blocks, plane):
        if read is plane and re.search(
            "--(series|project|channel)|a file of its own", outcome
        ):  # the others ask for this choice
            outcome = "image"
        try:
            read(file)
        except ImageError as error:
            outcome = str(error)
            if "\n" in outcome or str(file) not in outcome:
                return f"BAD not one sentence that names the file: {outcome!r}"
            if re.search("memory than is free", outcome):
                return f"BAD needs more than {MEMORY >> 20} MB: {outcome}"
    return outcome


def use_model(folder: Path) -> str:
    """Predict a small image with a model; return "runs" or the sentence that refuses it."""
    import contextlib
    import io

    import cv2

    import predict_masks

    image, said = folder.parent / "image.png", io.StringIO()
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    arguments = [str(image), "--model", str(folder), "--output", str(folder.parent / "output"), "--outputs", "labels"]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = predict_masks.main(arguments)
        except SystemExit as stopped:
            status = stopped.code
    lines = said.getvalue().strip().splitlines()
    if status == 0 or (status == 2 and len(lines) == 1):
        return "runs" if status == 0 else lines[0]
    return f"BAD exit status {status} with {len(lines)} lines: {' / '.join(lines)[:300]}"


def examine(task: Callable[[Path], str], path: Path, seconds: float, memory: int = MEMORY) -> tuple[str, str]:
    """Run a task on a path in a forked process; return what became of it, and details.

    That is "ok", "hangs", "dies", "traceback", "opens another file", "output" (anything printed) or "refusal" (not as
    it should be).
    """
    receiver, sender = os.pipe()
    process = os.fork()
    if not process:
        _run(task, path, sender, memory)
    os.close(sender)
    received, end = b"", time.monotonic() + seconds
    while select.select([receiver], [], [], max(0, end - time.monotonic()))[0]:
        part = os.read(receiver, 1 << 16)
        if not part:
            break
        received = received[-(1 << 20) :] + part
    else:
        os.kill(process, signal.SIGKILL)
    os.close(receiver)
    _, status = os.waitpid(process, 0)
    said, mark, outcome = received.rpartition(_MARK)
    if mark:
        kind, detail = json.loads(outcome)
        return (kind, detail) if kind != "ok" or not said.strip() else ("output", said.decode(errors="replace").strip())
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return "hangs", f"over {seconds} s; {received.decode(errors='replace').strip()[-300:]}"
    return "dies", f"status {status}; {received.decode(errors='replace').strip()[-300:]}"


def _run(task: Callable[[Path], str], path: Path, sender: int, memory: int) -> None:
    """In the forked process: limit it, run the task, write the outcome, and end."""
    opened = []

    def audit(event: str, arguments: tuple) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
            name = os.path.realpath(os.fsdecode(arguments[0]))
            if (
                not name.startswith((str(path.parent), *_LIBRARIES))
                or "secret" in name
                or name.startswith("/proc/self/mem")
            ):
                opened.append(name)

    try:
        os.dup2(sender, 1)
        os.dup2(sender, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.addaudithook(audit)
        detail = task(path)
        outcome = ("refusal", detail.removeprefix("BAD ")) if detail.startswith("BAD ") else ("ok", detail)
    except BaseException as error:
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        outcome = "traceback", f"{type(error).__name__} in {where}: {str(error)[:200]}"
    if opened:
        outcome = "opens another file", ", ".join(dict.fromkeys(opened))
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(sender, _MARK + json.dumps(outcome).encode())
    os._exit(0)


def write_input(files: Files, folder: Path) -> Path:
    """Write an input and what it may name wrongly; return the file or folder to read."""
    inner = folder / "in"
    inner.mkdir(parents=True)
    os.mkfifo(inner / "pipe")
    (folder / "secret.tif").write_bytes(next(iter(files.values())))
    for name, content in files.items():
        (inner / name).parent.mkdir(parents=True, exist_ok=True)
        (inner / name).write_bytes(content)
    return inner / next(iter(files)).split("/")[0]


def _make_in_process_of_its_own(folder: Path) -> dict[str, list[Files]]:
    """Make the inputs in a forked process: Zarr starts threads, after which a process should not fork."""
    import pickle

    process = os.fork()
    if not process:
        (folder / "inputs").write_bytes(pickle.dumps(make_inputs(folder)))
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("the inputs could not be made")
    return pickle.loads((folder / "inputs").read_bytes())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="cases of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS[:-1], metavar="FORMAT",
                        help=f"of {', '.join(FORMATS)} (default: all but bundle)")  # fmt: skip
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), metavar="FOLDER", help="where inputs are kept")
    options = parser.parse_args(argv)

    # Imported once, before the processes fork.
    import imagecodecs  # noqa: F401
    import tifffile  # noqa: F401
    import zarr  # noqa: F401

    if "bundle" in options.formats:
        import openvino  # noqa: F401

        import predict_masks  # noqa: F401

    started, kinds = time.monotonic(), Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch:
        inputs = _make_in_process_of_its_own(Path(scratch))
        for number in range(options.first, options.first + options.count):
            name = options.formats[number % len(options.formats)]
            rng = np.random.default_rng([options.seed, FORMATS.index(name), number])
            files = mutate(inputs[name][rng.integers(len(inputs[name]))], rng)
            folder = Path(scratch) / str(number)
            path = write_input(files, folder)
            if name == "bundle":
                kind, detail = examine(use_model, path, MODEL_SECONDS, 4 * MEMORY)
            else:
                kind, detail = examine(read_picture, path, SECONDS)
            kinds["image" if detail in ("image", "runs") else "sentence" if kind == "ok" else kind] += 1
            if kind != "ok":
                kept = options.keep / f"{name}-{options.seed}-{number}"
                shutil.rmtree(kept, ignore_errors=True)
                for own, content in files.items():
                    (kept / own).parent.mkdir(parents=True, exist_ok=True)
                    (kept / own).write_bytes(content)
                print(f"{kept}: {kind}: {' '.join(detail.split())}".replace(str(folder), "..."), flush=True)
            shutil.rmtree(folder)
    seconds = time.monotonic() - started
    print(f"seed {options.seed}, {options.count:,} cases in {seconds:.0f} s: {dict(kinds.most_common())}")
    return 1 if kinds.keys() - {"image", "sentence"} else 0


if __name__ == "__main__":
    sys.exit(main())

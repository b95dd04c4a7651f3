"""What all images of a call share, and how each of them ends: skipped, saved or failed."""

import hashlib
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from segmentation.batch.inputs import Input
from segmentation.batch.joining import remove_table
from segmentation.batch.outputs import ImageOutput, Output, Prediction
from segmentation.batch.records import Record, Records
from segmentation.command_line import printable
from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.formats.planes import Planes
from segmentation.data.images import Image, is_special
from segmentation.data.large import LARGEST_WHOLE, LargeImage, content_digest
from segmentation.data.pictures import planes_of
from segmentation.prediction.predictor import Predictor

if TYPE_CHECKING:
    from segmentation.large.result import LargePrediction

DONE, SKIPPED, FAILED = "done", "skipped", "failed"

_Image = TypeVar("_Image", Image, LargeImage)


class TakenError(ValueError):
    """The folder holds results of another image under the name of this one; the message is one sentence."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image: "done" now, "skipped" because an earlier call did it, or "failed"."""

    input: Input
    status: str
    nuclei: int = 0
    reason: str = ""  # one sentence that names the image: why it failed, or what to know of its content
    scale: float = 1.0  # as in `Prediction`
    diameter: float | None = None
    replaced: bool = False  # earlier results, of other settings or of other content of the file, were removed
    verdict: dict | None = None  # as in `Record`


@dataclass(frozen=True, eq=False)
class Call:
    """What all images of a call share: arguments of `predict_folder`, and what follows from them."""

    folder: Path
    predictor: Predictor
    outputs: Mapping[str, Output]
    overwrite: bool = False
    largest_whole: int = LARGEST_WHOLE
    # Tables and pages of earlier calls. They are kept as long as the results in them are.
    kept_tables: tuple[Path, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    say: Callable[[str], None] = lambda sentence: None  # for what the call waits
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # of all threads, by stage
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def records(self) -> Records:
        """The records of the folder."""
        return Records(self.folder)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to the seconds of a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - started

    def planes_of(self, source: Input) -> Planes:
        """Return which planes of its file an image is."""
        return planes_of(source.place, self.predictor.project)

    def completed(self, image: _Image, source: Input) -> _Image:
        """Return the image with its place in the file, and the pixel size that the user gave, if any."""
        side = self.predictor.pixel_size_um
        size = image.pixel_size_um if side is None else PixelSize(side, side)
        return replace(image, place=source.place, pixel_size_um=size)

    def find_finished(self, source: Input, sha256: str) -> Outcome | None:
        """Return the outcome of an earlier call that still holds; TakenError if it is that of another image."""
        if self.overwrite:
            return None
        record = self.records.load(source.name)
        if record is None:
            return None
        if self.records.is_finished(record, sha256, self.predictor.settings, self.outputs) and all(
            self.has_part(record, key, output) for key, output in self.outputs.items()
        ):
            kept: dict[str, Any] = {name: getattr(record, name) for name in ("scale", "diameter", "verdict")}
            return Outcome(source, SKIPPED, record.nuclei, **kept)
        if record.sha256 != sha256 and not _is_of(record, source):
            raise TakenError(
                f"{source.title}: {self.folder} holds results of another image of the name {source.name}, "
                f"{record.input}; name another folder with --output, or replace them with --overwrite"
            )
        return None

    def has_part(self, record: Record, key: str, output: Output) -> bool:
        """Tell whether the part of a table or page is among an image's results, in the present format."""
        if isinstance(output, ImageOutput):
            return True
        part = output.part_file(record.name)
        return part in record.files.get(key, ()) and output.is_part(self.folder / part)

    def save(self, source: Input, sha256: str, prediction: "Prediction | LargePrediction") -> Outcome:
        """Write all outputs of an image, then the record that says that they are finished."""
        settings = self.predictor.settings
        verdict = prediction.verdict.as_dict() if prediction.verdict else None
        how: dict[str, Any] = {"scale": prediction.scale, "diameter": prediction.diameter, "verdict": verdict}
        with self.timed("write"):
            earlier = self.records.load(source.name)
            files: dict[str, dict[str, int]] = {}
            replaced = earlier is not None and (earlier.sha256, earlier.settings) != (sha256, settings)
            if earlier and not replaced:
                files |= earlier.files
            elif earlier:  # of other content or settings: all of them are removed before the first is replaced
                self._discard(source.name)
            for key, output in self.outputs.items():
                written = output.save(self.folder, prediction)
                members = sorted(written.rglob("*")) if written.is_dir() else [written]
                files[key] = {
                    file.relative_to(self.folder).as_posix(): file.stat().st_size for file in members if file.is_file()
                }
            self.records.store(Record(source.name, str(source.file), sha256, settings, prediction.nuclei, files, **how))
        gaps = prediction.image.gaps
        reason = f"{source.title} holds {gaps:,} values that are NaN or infinite, taken for background" if gaps else ""
        return Outcome(source, DONE, prediction.nuclei, reason, replaced=replaced, **how)

    def fail(self, source: Input, error: Exception) -> Outcome:
        """Say why an image failed; results of an earlier call are removed if the file has changed since."""
        record = self.records.load(source.name)
        if record and _is_of(record, source) and _has_changed(source, record):
            self._discard(source.name)
        file, title = printable(str(source.file)), printable(source.title)
        reason = printable(re.sub(r"\s*[\n\r\t]\s*", " ", str(error).replace(str(source.file), file)).strip())
        if file not in reason:
            reason = f"{title} failed: {type(error).__name__}, {reason or 'no message'}"
        elif title not in reason:  # which picture of the file?
            reason = title + reason.removeprefix(file) if reason.startswith(f"{file} ") else f"{title}: {reason}"
        return Outcome(source, FAILED, reason=reason)

    def _discard(self, name: str) -> None:
        for table in self.kept_tables:
            remove_table(table)
        self.records.discard(name)


def digest_of(source: Input) -> str:
    """Return the SHA-256 of an image: of the content of its file and, if that holds several, of the place in it."""
    if not source.place:
        return content_digest(source.file)
    file = cast(Path, source.file)
    found = file.stat()
    digest = content_digest(file) if file.is_dir() else _digest(file, found.st_size, found.st_mtime_ns)
    return hashlib.sha256(f"{digest} {source.place}".encode()).hexdigest()


@lru_cache
def _digest(file: Path, size: int, changed: int) -> str:
    """Hash a file once for all pictures in it."""
    return content_digest(file)


def _is_of(record: Record, source: Input) -> bool:
    """Tell whether a record is of the file with this path, whatever the content."""
    return os.path.abspath(record.input) == os.path.abspath(str(source.file))


def _has_changed(source: Input, record: Record) -> bool:
    """Tell whether a file can be read and has another content than the one that was predicted."""
    file = source.file
    if isinstance(file, Path) and is_special(file):
        return False
    try:
        return digest_of(source) != record.sha256
    except OSError:
        return False

"""The widget *Segment nuclei* of napari: find nuclei, correct them, save them, and train on them.

Qt is imported when the widget is made, so that this module can be imported without a screen.
"""

import threading
import traceback
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    SpinBox,
)

from segmentation.bundle import BundleError, load_bundle
from segmentation.data.formats.decoded import one_line
from segmentation.data.images import ImageError
from segmentation.data.problems import DatasetError
from segmentation.napari_plugin.layers import (
    add_nuclei,
    colour_by_score,
    count_channels,
    data_of,
    picture_of,
    show_channel,
)
from segmentation.napari_plugin.pictures import LayerError, LayerPicture, as_sentence
from segmentation.napari_plugin.segmenting import Nuclei, Progress, Settings, find_nuclei
from segmentation.napari_plugin.training import Training
from segmentation.napari_plugin.training_data import model_folder, save_sample, train_command
from segmentation.paths import released_model
from segmentation.prediction.engines import EngineError, Stopped
from segmentation.prediction.scale import DiameterError

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

_Errors = BundleError, DatasetError, DiameterError, EngineError, ImageError, LayerError, OSError


class NucleiWidget(Container):
    """The widget. What it says last stays at its foot; what went wrong is a notification of napari, too."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        from qtpy.QtCore import Qt

        self._viewer = viewer
        self._stopped: threading.Event | None = None  # of the segmentation that is running
        self._training: Training | None = None
        self._channels: list[tuple[str, int]] = []
        self._usual_threshold: float | None = None  # of the chosen model
        folder_edit = partial(FileEdit, mode=FileDialogMode.EXISTING_DIRECTORY)
        self.image = ComboBox(label="image", choices=lambda _: self._layers("Image"), tooltip="The image to segment")
        self.channel = ComboBox(label="channel", choices=lambda _: self._channels, tooltip="The one of the nuclei")
        self.diameter = LineEdit(label="diameter", value="auto", tooltip="Of the nuclei, in pixels; or auto, or none")
        self.threshold = FloatSpinBox(label="threshold", min=0.01, max=0.99, step=0.05, tooltip="Lower finds more")
        self.min_score = FloatSpinBox(label="minimum score", max=0.99, step=0.05, tooltip="Drops the doubtful nuclei")
        self.model = folder_edit(label="model", value=released_model(), tooltip="Folder of a trained model")
        self.segment = PushButton(text="Segment nuclei")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.by_score = CheckBox(text="Colour by score", tooltip="Dark nuclei are doubtful, yellow ones are certain")
        self.nuclei = ComboBox(label="nuclei", choices=lambda _: self._layers("Labels"), nullable=True)
        self.folder = folder_edit(label="folder", value=Path.home() / "nuclei_training")
        self.save = PushButton(text="Save as training data")
        self.minutes = SpinBox(label="minutes", value=30, min=1, max=10_000, tooltip="The longest that training takes")
        self.train = PushButton(text="Train on these")
        self.cancel_training = PushButton(text="Cancel training", enabled=False)
        self.progress = ProgressBar(visible=False)
        self.said = Label(value="")
        super().__init__(
            widgets=[
                *(self.image, self.channel, self.diameter, self.threshold, self.min_score, self.model),
                *(self.segment, self.cancel, self.progress),
                *(Label(value="<b>Look, and correct the nuclei</b>"), self.nuclei, self.by_score),
                *(Label(value="<b>Train on corrected nuclei</b>"), self.folder, self.save),
                *(self.minutes, self.train, self.cancel_training, self.said),
            ]
        )
        self.said.native.setWordWrap(True)
        self.said.native.setTextFormat(Qt.TextFormat.PlainText)  # names of layers may look like HTML
        self.image.changed.connect(self._show_channels)
        self.channel.changed.connect(self._show_channel)
        self.model.changed.connect(self._show_threshold)
        self.segment.changed.connect(self._segment)
        self.cancel.changed.connect(self._cancel)
        self.by_score.changed.connect(self._colour)
        self.nuclei.changed.connect(self._colour)
        self.save.changed.connect(self._save)
        self.train.changed.connect(self._train)
        self.cancel_training.changed.connect(self._cancel_training)
        self.native.destroyed.connect(self._stop)
        self._show_channels()
        self._show_threshold()

    def _layers(self, kind: str) -> list:
        from napari import layers

        return [layer for layer in self._viewer.layers if isinstance(layer, getattr(layers, kind))]

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that there are now; napari calls this. What was chosen stays so, also if it was renamed."""
        boxes = self.image, self.nuclei
        chosen = [box.value for box in boxes]
        with self.image.changed.blocked(), self.nuclei.changed.blocked():
            super().reset_choices()
            for box, layer in zip(boxes, chosen, strict=True):
                if layer in box.choices:
                    box.value = layer
        if self.image.value is not chosen[0]:
            self._show_channels()

    def _show_channels(self) -> None:
        """Offer the channels of the chosen image, none of them chosen."""
        try:
            count = count_channels(self.image.value) if self.image.value else 0
        except LayerError:  # is said when it is to be segmented
            count = 0
        self._channels = [("choose", 0), *((str(number), number) for number in range(1, count + 1))]
        self.channel.reset_choices()
        self.channel.value = 0
        self.channel.visible = count > 0

    def _show_channel(self) -> None:
        """Show the chosen channel, whose number on napari's slider is one less."""
        if self.channel.value:
            show_channel(self._viewer, self.image.value, self.channel.value)

    def _show_threshold(self) -> None:
        """Show the threshold of the chosen model."""
        try:
            self._usual_threshold = round(load_bundle(_folder(self.model)).thresholds["foreground"], 2)
        except (BundleError, LayerError, KeyError):  # is said when it is to be used
            return
        self.threshold.value = self._usual_threshold

    def _settings(self) -> Settings:
        text, threshold = self.diameter.value.strip().lower(), round(self.threshold.value, 2)
        try:
            diameter: Any = {"none": None, "auto": "auto"}[text] if text in ("none", "auto") else float(text)
        except ValueError:
            raise LayerError(f"The diameter is {text!r}, where a number of pixels, auto or none was expected") from None
        # The model's own threshold may have more digits than are shown.
        changed = None if threshold == self._usual_threshold else threshold
        return Settings(_folder(self.model), diameter, changed, self.min_score.value or None)

    def _picture(self) -> LayerPicture:
        if self.image.value is None:
            raise LayerError("There is no image: open one, and choose it above")
        return picture_of(self.image.value, self.channel.value or None)

    def _segment(self) -> None:
        from napari.qt.threading import create_worker

        try:
            picture, settings = self._picture(), self._settings()
        except _Errors as error:
            self._refuse(error)
            return
        self._stopped = threading.Event()
        worker = create_worker(_find, picture, settings, self._stopped)
        worker.yielded.connect(self._show_progress)
        worker.returned.connect(partial(self._found, self.image.value, picture))
        worker.finished.connect(self._finished)
        self.segment.enabled, self.cancel.enabled = False, True
        self.progress.min, self.progress.max, self.progress.visible = 0, 0, True
        self._say(f"Segmenting {picture.name} ...")
        worker.start()

    def _show_progress(self, progress: Progress) -> None:
        self.progress.max, self.progress.value = progress[1], progress[0]
        self._say(f"{progress[0]:,} of {progress[1]:,} blocks are done")

    def _found(self, image: "Image", picture: LayerPicture, found: Nuclei | str) -> None:
        if isinstance(found, str):
            self._refuse(found)
            return
        layer = add_nuclei(self._viewer, image, picture, found)
        self.nuclei.value = layer
        self._colour()
        sentences = [f"{found.count:,} {'nucleus' if found.count == 1 else 'nuclei'} in {picture.name}."]
        if found.gaps:
            sentences.append(f"{found.gaps:,} values are NaN or infinite, taken for background.")
        if found.verdict and found.verdict.dice is not None:
            sentences.append(f"Expected Dice {found.verdict.dice:.2f}, AP50 {found.verdict.ap50:.2f}.")
        if found.verdict and found.verdict.unlike:
            sentences.append(found.verdict.unlike)
        if not found.verdict:
            sentences.append("This model gives no scores.")
        if not found.count:
            sentences.append("Try a lower threshold or minimum score, or give the diameter of the nuclei.")
        (self._say if found.count else self._refuse)(" ".join(sentences))

    def _finished(self) -> None:
        self._stopped = None
        self.segment.enabled, self.cancel.enabled, self.progress.visible = True, False, False

    def _cancel(self) -> None:
        self._stop()
        self._say("Cancelling ...")

    def _stop(self) -> None:
        """End the segmentation that is running."""
        if self._stopped:
            self._stopped.set()

    def _colour(self) -> None:
        if self.nuclei.value is not None:
            colour_by_score(self.nuclei.value, self.by_score.value)

    def _save(self) -> None:
        try:
            folder, layer = _folder(self.folder), self.nuclei.value
            if layer is None:
                raise LayerError("There are no nuclei: segment an image, or add a labels layer and paint them")
            picture = layer.metadata.get("picture") or self._picture()
            warnings = save_sample(folder, picture, data_of(layer))
        except _Errors as error:
            self._refuse(error)
            return
        self._say(" ".join([f"{picture.name} is saved in {folder}.", *warnings]))

    def _train(self) -> None:
        try:
            data, initial_model = _folder(self.folder), _folder(self.model)
            if not data.is_dir():
                raise LayerError(f"{data} does not exist: save images with their nuclei as training data first")
        except _Errors as error:
            self._refuse(error)
            return
        output = model_folder(data)
        command = train_command(data, initial_model, output, self.minutes.value)
        self.train.enabled, self.cancel_training.enabled = False, True
        self._say("The training begins ...")
        self._training = Training(self.native, command, self._say, partial(self._trained, output))

    def _trained(self, output: Path, reason: str) -> None:
        self._training = None
        self.train.enabled, self.cancel_training.enabled = True, False
        if reason:
            self._refuse(reason)
            return
        self.model.value = output
        self._say(f"The training is done. Its model is chosen above: {output}")

    def _cancel_training(self) -> None:
        if self._training:
            self._training.stop()

    def _say(self, sentence: str) -> None:
        self.said.value = sentence

    def _refuse(self, reason: Exception | str) -> None:
        from napari.utils.notifications import show_warning

        self._say(as_sentence(reason))
        show_warning(as_sentence(reason))


def _folder(field: FileEdit) -> Path:
    """Return the folder in a field; `LayerError` if it is empty."""
    text = field.line_edit.value.strip()
    if not text:
        raise LayerError(f"The field {field.label} is empty, where a folder was expected")
    return Path(text).expanduser()


def _find(
    picture: LayerPicture, settings: Settings, stopped: threading.Event
) -> Generator[Progress, None, Nuclei | str]:
    """Find nuclei in a thread; what is wrong is returned as a sentence, since napari shows exceptions with code."""
    try:
        return (yield from find_nuclei(picture, settings, stopped))
    except Stopped:
        return f"{picture.name}: cancelled"
    except MemoryError:
        return f"{picture.name} needs more memory than is free: close other programs, or cut out a part of it"
    except _Errors as error:
        return as_sentence(error)
    except Exception as error:  # OpenVINO's are of many kinds; after a RuntimeError, napari's thread would never finish
        traceback.print_exc()
        return f"{picture.name} cannot be segmented ({type(error).__name__}: {one_line(error)})"

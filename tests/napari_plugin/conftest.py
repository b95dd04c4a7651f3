import os
import shutil
import subprocess
import sys
import time

import pytest


def _start_display() -> str:
    """Start an X server without a screen, which ends with its last client; return its name."""
    reader, writer = os.pipe()
    options = ["-displayfd", str(writer), "-terminate", "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    subprocess.Popen(["Xvfb", *options], pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as stream:
        return f":{stream.readline().strip()}"


@pytest.fixture(scope="session")
def display(tmp_path_factory):
    """A display for Qt; skips where there is none, or Qt does not start on it."""
    if sys.platform == "linux":
        if shutil.which("Xvfb") is None:
            pytest.skip("Xvfb is not installed; see .ci/run")
        probe = os.environ | {"DISPLAY": _start_display(), "QT_QPA_PLATFORM": "xcb"}
        command = [sys.executable, "-c", "from qtpy.QtWidgets import QApplication; QApplication([]); import napari"]
        # In a process of its own: without one of its libraries, Qt ends the process.
        tried = subprocess.run(command, env=probe, capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"Qt does not start; see .ci/run: {tried.stderr.strip().splitlines()[-1]}")
        os.environ |= {"DISPLAY": _start_display(), "QT_QPA_PLATFORM": "xcb"}
    os.environ["NAPARI_CONFIG"] = str(tmp_path_factory.mktemp("napari") / "settings.yaml")


@pytest.fixture(scope="session")
def shared_viewer(display):
    import napari

    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(shared_viewer):
    """A napari without layers."""
    yield shared_viewer
    shared_viewer.layers.clear()


@pytest.fixture
def wait(display):
    """Let Qt run until a condition holds."""
    from qtpy.QtWidgets import QApplication

    def wait_until(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            QApplication.processEvents()
            time.sleep(0.01)

    return wait_until


@pytest.fixture
def widget(viewer, wait):
    """*Segment nuclei* in a napari without layers."""
    from segmentation.napari_plugin.widget import NucleiWidget

    widget = NucleiWidget(viewer)
    docked = viewer.window.add_dock_widget(widget)
    yield widget
    widget.cancel.native.click()
    widget.cancel_training.native.click()
    wait(lambda: widget.segment.enabled and widget.train.enabled)
    viewer.window.remove_dock_widget(docked)

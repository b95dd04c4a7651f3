#!/usr/bin/env python3
"""Draw napari.png, the picture of the plugin in README.md, of one of the synthetic sample images.

python docs/napari_example.py                                              # on a screen
xvfb-run -s "-screen 0 1400x900x24" python docs/napari_example.py          # without one
"""

import sys
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtTest import QTest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from segmentation.data.images import read_image
from segmentation.napari_plugin.widget import NucleiWidget


def main() -> None:
    viewer = napari.Viewer()
    viewer.window.resize(1200, 760)
    image = read_image(ROOT / "data" / "sample" / "test" / "images" / "fluorescence_05.png").pixels
    viewer.add_image(image[..., 0] if image.shape[-1] == 1 else image, name="fluorescence_05")
    widget = NucleiWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment nuclei")
    widget.segment.native.click()
    while not widget.segment.enabled:
        QTest.qWait(20)
    widget.by_score.value = True
    nuclei = widget.nuclei.value
    QTest.qWait(500)
    viewer.reset_view()
    QTest.qWait(500)
    viewer.help = ""
    viewer.status = nuclei.get_status(np.argwhere(nuclei.data == 3)[0], world=True)
    QTest.qWait(100)
    picture = viewer.screenshot(canvas_only=False, flash=False)
    Image.fromarray(picture[..., :3]).quantize(96).save(ROOT / "docs" / "napari.png", optimize=True)
    viewer.close()


if __name__ == "__main__":
    main()

import numpy as np

from segmentation.exploration.style import frame, picture, png, show


def photograph():
    figure, ((axes,),) = frame(3, 3)
    picture(axes, np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8))
    return figure


def plot():
    figure, ((axes,),) = frame(3, 3)
    axes.plot([0, 1])
    return figure


def test_formats():
    assert png(plot()).startswith(b"\x89PNG")
    assert png(plot()) == png(plot())


def test_a_finding_stands_under_the_figure(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    for figure, start in ((plot(), b"\x89PNG"), (photograph(), b"\xff\xd8")):
        show(figure, "Nuclei are round.")
        image, text = shown[-2:]
        assert image.data.startswith(start)
        assert text.data == "**Finding.** Nuclei are round."

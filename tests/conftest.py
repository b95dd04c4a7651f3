import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def dsb2018() -> Path:
    """The folder with stage1_train.zip and split.csv of the 2018 Data Science Bowl; skips where it is not at hand."""
    folder = os.environ.get("DSB2018_DIR")
    if not folder:
        pytest.skip("DSB2018_DIR names no folder with stage1_train.zip and split.csv")
    return Path(folder)


def pytest_collection_modifyitems(items):
    for item in items:
        if "dsb2018" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)

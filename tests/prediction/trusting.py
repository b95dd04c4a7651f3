"""Coefficients of scores and verdicts, for tests."""

TRUST = {
    "nucleus": {"bias": -1.0, "weights": {"certainty": 0.5, "size": 0.25}},
    "dice": {"bias": 0.0, "weights": {"score": 1.0}},
    "ap50": {"bias": -1.0, "weights": {"score": 1.0, "certainty": 0.5}},
    "training_images": {
        "sharpness": {"fluorescence": [0.1, 1.2]},
        "diameter": [8.0, 50.0],
        "stains": [[0.0, 0.0, 0.1], [0.1, 0.2, 0.7]],
    },
}

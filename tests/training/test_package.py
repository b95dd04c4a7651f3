import json
import os
import zipfile

import cv2
import keras
import numpy as np
import openvino
import pytest
from matplotlib.axes import Axes

from segmentation.bundle import load_bundle
from segmentation.data.normalisation import Normalisation
from segmentation.data.splits import SplitRow
from segmentation.data.training_data import TrainingData
from segmentation.evaluation.scores import score_image
from segmentation.network.unet import receptive_field_radius
from segmentation.prediction.predictor import open_predictor
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.export import export_model
from segmentation.training.fit import new_model, new_network
from segmentation.training.package import nuclear_areas, package
from segmentation.training.resume import Run
from segmentation.training.validation import THRESHOLDS, choose_threshold, draw_examples, score_images, summarise


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(dropout=0.1)


@pytest.fixture(scope="module")
def subsets(drawn_images):
    row = SplitRow("train")
    ids = drawn_images.ids
    train = drawn_images.select(dict.fromkeys(ids[:5], row))
    val = drawn_images.select(dict.fromkeys(ids[5:], row))
    return TrainingData(train, val, split={}, digest="d" * 64, warnings="")


@pytest.fixture(scope="module")
def model(config, drawn_images):
    """A network after some training steps on whole images: it has learnt where the bright nuclei are."""
    model = new_model(config)
    model.optimizer.learning_rate = 0.01
    encode = ENCODINGS[config.targets].encode
    images = np.stack([drawn_images.pixels(index) for index in (0, 1, 3, 4)]).astype(np.float32) / 255
    targets = np.stack([encode(drawn_images.label_map(index)) for index in (0, 1, 3, 4)])
    for _ in range(40):
        model.train_on_batch(images, targets)
    return model


@pytest.fixture(scope="module")
def packaged(tmp_path_factory, model, config, subsets):
    """The folder of a bundle, and the scores that `package` returned."""
    folder = tmp_path_factory.mktemp("bundle")
    run = Run(data="/somewhere/nuclei.zip", config=config)
    figures = ("loss", "val_loss", "dice", "val_dice", "learning_rate", "learning_rate_used")
    history = [{"epoch": epoch, "seconds": 25.2, **dict.fromkeys(figures, 1 / (epoch + 1))} for epoch in range(3)]
    return folder, package(model, run, subsets, history, folder)


@pytest.fixture
def images():
    return np.random.default_rng(1).random((2, 36, 48, 3), dtype=np.float32)


def openvino_output(folder, images):
    core = openvino.Core()
    compiled = core.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return next(iter(compiled(images).values()))


def test_bundle_is_whole(packaged):
    folder, _ = packaged
    names = {file.name for file in folder.iterdir()}
    assert names == {"bundle.json", "model.keras", "model.xml", "model.bin", "validation.png", "report.html"}
    load_bundle(folder)  # verifies the checksums


def test_bundle_tells_what_prediction_needs(packaged, config, subsets):
    folder, _ = packaged
    bundle = load_bundle(folder)
    assert bundle.targets == "centre_offsets"
    assert bundle.channels == ENCODINGS["centre_offsets"].channels
    assert bundle.divisor == 4
    assert bundle.receptive_field_radius == receptive_field_radius(2)
    assert Normalisation(**bundle.normalisation) == Normalisation()
    assert bundle.training["config"]["base_filters"] == 4 and bundle.training["config"]["dropout"] == 0.1
    assert bundle.training["data"] == "nuclei.zip"  # and not where it lay
    assert bundle.training["data_sha256"] == "d" * 64
    assert bundle.training["images"] == {"train": 5, "val": 3}
    assert (bundle.training["epochs"], bundle.training["minutes"]) == (3, 1.3)


def test_sizes_are_those_of_the_training_nuclei(packaged, drawn_images, subsets):
    areas = []
    for index in range(5):
        label_map = drawn_images.label_map(index)
        areas += [int((label_map == number).sum()) for number in range(1, label_map.max() + 1)]
    assert sorted(nuclear_areas(subsets.train)) == sorted(areas)
    bundle = load_bundle(packaged[0])
    assert bundle.diameter == pytest.approx(np.median([2 * np.sqrt(area / np.pi) for area in areas]), abs=0.006)
    assert 0 <= bundle.min_area < min(sorted(areas)[len(areas) // 20 :])


def test_openvino_gives_what_keras_gives(packaged, model, images):
    ours, theirs = openvino_output(packaged[0], images), model.predict_on_batch(images)
    assert ours.shape == theirs.shape == (2, 36, 48, 4)
    assert ours.dtype == np.float32
    # The weights are in half precision.
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
    assert np.abs(ours - theirs).mean() < 2e-3
    assert theirs.std() > 0.01


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 64, 20)])
def test_openvino_takes_any_divisible_size(packaged, model, shape):
    images = np.random.default_rng(2).random((*shape, 3), dtype=np.float32)
    np.testing.assert_allclose(openvino_output(packaged[0], images), model.predict_on_batch(images), atol=2e-2)


def test_keras_file_loads_in_safe_mode_without_our_code(packaged, model, images):
    file = packaged[0] / "model.keras"
    loaded = keras.saving.load_model(file, compile=False, safe_mode=True)
    np.testing.assert_allclose(loaded.predict_on_batch(images), model.predict_on_batch(images), atol=1e-5)
    normalising = [layer for layer in loaded.layers if "bn" in layer.name]
    assert normalising and all(type(layer) is keras.layers.BatchNormalization for layer in normalising)
    # Moving statistics went along.
    assert any(np.abs(np.asarray(layer.moving_mean)).max() > 0 for layer in normalising)
    with zipfile.ZipFile(file) as archive:
        description = archive.read("config.json").decode()
    assert "segmentation" not in description
    assert not json.loads(description).get("compile_config")


def test_scores_are_those_of_the_whole_validation_images(packaged, subsets):
    """What `predict_masks.py` makes of the bundle, scored by hand, must give the figures in it."""
    folder, returned = packaged
    bundle = load_bundle(folder)
    scores = bundle.scores
    assert scores == returned
    assert (scores["subset"], scores["images"]) == ("val", 3)
    predictor = open_predictor(bundle)
    dice = []
    for index in range(3):
        pixels = subsets.val.pixels(index).astype(np.float32) / 255
        predicted = predictor.decode(predictor.predict([pixels])[0])
        dice.append(score_image(subsets.val.label_map(index), predicted).dice)
    figure = scores["figures"]["dice"]
    assert figure["value"] == pytest.approx(np.mean(dice), abs=1e-4)
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert 0.2 < figure["value"] < 1
    assert {"dice", "iou", "ap50", "mean_ap", "bowl"} <= scores["figures"].keys()


def test_no_other_threshold_is_better_on_the_validation_images(packaged, subsets):
    bundle = load_bundle(packaged[0])
    gains = {}
    for threshold in THRESHOLDS:
        predictor = open_predictor(bundle, threshold=float(threshold))
        scores = []
        for index in range(3):
            pixels = subsets.val.pixels(index).astype(np.float32) / 255
            predicted = predictor.decode(predictor.predict([pixels])[0])
            scores.append(score_image(subsets.val.label_map(index), predicted))
        matched = np.sum([score.matched for score in scores], axis=0)[:9]
        mean_ap = np.mean(matched / (sum(score.true_nuclei + score.predicted_nuclei for score in scores) - matched))
        gains[float(threshold)] = np.mean([score.dice for score in scores]) + mean_ap
    assert bundle.thresholds.keys() == {"foreground"}
    assert gains[bundle.thresholds["foreground"]] == pytest.approx(max(gains.values()), abs=1e-6)
    assert min(gains.values()) < max(gains.values())


@pytest.mark.parametrize("best", [0.35, 0.5, 0.8])
def test_threshold_is_found_where_the_truth_is(subsets, best):
    """A network that is sure of the nuclei, unsure of what lies around them up to just below the threshold."""
    channels = []
    for index in range(3):
        inside = subsets.val.label_map(index) > 0
        channels.append(np.where(inside, best + 0.01, best - 0.01)[..., None].astype(np.float32))

    asked = iter(range(10**6))

    def decode(predicted, thresholds):
        number = next(asked) % 3
        above = predicted[..., 0] > thresholds["foreground"]
        return np.where(above, np.maximum(subsets.val.label_map(number), 1), 0)

    assert choose_threshold(subsets.val, channels, decode) == pytest.approx(best)


@pytest.mark.parametrize("foreground", [0.05, 0.2, 0.5, 0.8])
def test_noise_is_not_decoded_to_find_its_threshold(in_memory, foreground):
    """It would take longer than a short training; also of dense data, and with an empty image among them."""
    rng = np.random.default_rng(0)
    blank = np.zeros((64, 64, 3), np.uint8)
    truths = [(rng.random((64, 64)) < foreground).astype(np.int32), np.zeros((64, 64), np.int32)]
    images = in_memory([(blank, truth, "fluorescence") for truth in truths])
    channels = [rng.uniform(0.3, 0.7, (64, 64, 1)).astype(np.float32) for _ in truths]

    def decode(predicted, thresholds):
        raise AssertionError("decoded")

    # The more is taken for foreground, the better.
    assert choose_threshold(images, channels, decode) == pytest.approx(0.3)


def test_dice_of_each_kind(subsets):
    """Perfect on all images but the last, where nothing is found."""
    channels = [subsets.val.label_map(0), subsets.val.label_map(1), 0 * subsets.val.label_map(2)]
    label_maps, scores = score_images(subsets.val, channels, lambda predicted: predicted)
    assert [score.dice for score in scores] == [1, 1, 0]
    kinds = subsets.val.kinds
    expected = {kind: np.mean([s for k, s in zip(kinds, [1, 1, 0], strict=True) if k == kind]) for kind in set(kinds)}
    summary = summarise(subsets.val, scores)
    assert summary["dice_by_kind"] == pytest.approx(expected, abs=1e-4)
    assert summary["figures"]["dice"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    np.testing.assert_array_equal(label_maps[0], subsets.val.label_map(0))


@pytest.mark.parametrize(("count", "shown"), [(1, ["best"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])])
def test_examples_are_drawn_once_each_however_few_there_are(tmp_path, drawn_images, count, shown, monkeypatch):
    titles = []
    monkeypatch.setattr(Axes, "set_title", lambda self, title, **options: titles.append(title))
    images = drawn_images.select(dict.fromkeys(drawn_images.ids[:count], SplitRow("val")))
    label_maps = [images.label_map(index) for index in range(count)]
    label_maps[0] = 0 * label_maps[0]  # nothing found
    scores = [score_image(images.label_map(index), label_maps[index]) for index in range(count)]
    draw_examples(tmp_path / "validation.png", images, label_maps, scores)
    picture = cv2.imread(str(tmp_path / "validation.png"))
    assert picture is not None and picture.std() > 5
    assert [title.partition(":")[0] for title in titles[::3]] == shown
    assert len(set(titles[::3])) == count
    # The first has lost its nuclei, so it is the worst of several.
    assert images.ids[0][:12] in titles[-3]


def test_export_reports_to_nobody(tmp_path, config, monkeypatch):
    """OpenVINO's converter sends what it is used for to its makers, from a fork of the process, unless kept from it."""
    telemetry = pytest.importorskip("openvino_telemetry", reason="without it there is nothing to keep from it")
    sent = []
    monkeypatch.setattr(telemetry.main.TelemetrySender, "send", lambda self, *message: sent.append(message))
    monkeypatch.delenv("CI", raising=False)
    # It asks for consent once a process: begin anew.
    monkeypatch.setattr(telemetry.Telemetry, "_SingletonMetaClass__single_instance", None)
    export_model(new_network(config), tmp_path)
    assert sent == []
    assert "CI" not in os.environ


def test_export_replaces_what_was_there(tmp_path, config, images):
    networks = [new_network(config), keras.models.clone_model(new_network(config))]
    networks[1].set_weights([0.5 * weights for weights in networks[0].get_weights()])
    outputs = []
    for network in networks:
        export_model(network, tmp_path)
        outputs.append(openvino_output(tmp_path, images))
        np.testing.assert_allclose(outputs[-1], network.predict_on_batch(images), atol=2e-2)
    assert np.abs(outputs[0] - outputs[1]).max() > 0.05
    assert {file.name for file in tmp_path.iterdir()} == {"model.keras", "model.xml", "model.bin"}


def test_a_failed_export_leaves_the_old_model(tmp_path, config, monkeypatch):
    network = new_network(config)
    export_model(network, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(openvino, "save_model", full)
    with pytest.raises(OSError, match="no space left"):
        export_model(network, tmp_path)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in ("model.xml", "model.bin"))

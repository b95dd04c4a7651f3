"""Train a U-Net: compile, fit with callbacks, keep the best weights, go on after a kill."""

from pathlib import Path

import keras

from segmentation.data.cache import CachedImages
from segmentation.network.losses import FOREGROUND_LOSSES
from segmentation.network.metrics import DiceCoefficient, IntersectionOverUnion
from segmentation.network.target_losses import target_loss
from segmentation.network.unet import build_unet
from segmentation.network.widening import widen
from segmentation.targets.encodings import ENCODINGS
from segmentation.training import callbacks
from segmentation.training.checkpoint import Checkpoint, discard_unfinished, read_state
from segmentation.training.config import TrainingConfig
from segmentation.training.feeding import feed
from segmentation.training.history import write_history
from segmentation.training.sequence import NucleiSequence
from segmentation.training.windows import MiddleWindows


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says why and what to do."""


def new_model(config: TrainingConfig) -> keras.Model:
    """Build the network of a training, with its loss, metrics and optimiser."""
    on_tensorflow_cpu = _is_tensorflow_on_cpu()
    faster = {}
    if on_tensorflow_cpu:
        from segmentation.network.batch_normalisation import FusedBatchNormalization

        faster["batch_normalisation"] = FusedBatchNormalization
    model = new_network(config, **faster)
    # Decoupled weight decay (Loshchilov and Hutter 2019); clipping tames the first steps of the offsets.
    model.compile(
        keras.optimizers.AdamW(config.learning_rate, weight_decay=1e-4, clipnorm=1.0),
        loss=target_loss(config.targets, FOREGROUND_LOSSES[config.loss]),
        metrics=[DiceCoefficient(), IntersectionOverUnion()],
        # XLA makes TensorFlow two to three times slower on a CPU.
        jit_compile=False if on_tensorflow_cpu else "auto",
    )
    return model


def new_network(config: TrainingConfig, **faster) -> keras.Model:
    """Build the network alone, as it is saved; `faster` goes to `segmentation.network.unet.build_unet`."""
    return build_unet(
        ENCODINGS[config.targets].activations,
        base_filters=config.base_filters,
        depth=config.depth,
        dropout=config.dropout,
        seed=config.seed,
        **faster,
    )


def load_initial_weights(model: keras.Model, folder: Path) -> None:
    """Give a new model the weights of a trained one, which may have fewer filters.

    Parameters
    ----------
    model : keras.Model
        From `new_model`.
    folder : Path
        The trained model, a bundle.

    Raises
    ------
    TrainingError
        If its network is not built as `model` is: another version of this code built it.
    """
    try:
        trained = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
        widen(trained, model)
    except ValueError as error:
        raise TrainingError(
            f"the network in {folder} cannot be begun with, or is built in another way than this code builds it "
            f"({error}); leave out --init"
        ) from error


def fit(
    model: keras.Model,
    config: TrainingConfig,
    train: CachedImages,
    val: CachedImages,
    folder: Path,
    *,
    time_limit: callbacks.TimeLimit | None = None,
    tensorboard: bool = False,
    verbose: int | str = "auto",
) -> list[dict]:
    """Train a model and leave it with the weights of its best epoch.

    Parameters
    ----------
    model : keras.Model
        From `new_model`.
    config : TrainingConfig
    train, val : CachedImages
    folder : Path
        Holds the state of the training in ``checkpoint/``; if there is one it is gone on with. ``history.csv`` and, on
        request, ``tensorboard/`` are written here too.
    time_limit : TimeLimit, optional
    tensorboard : bool
    verbose : int or str
        As for `keras.Model.fit`.

    Returns
    -------
    list of dict
        The figures of each epoch, from the first on, also those before a kill; and the seconds that it took.

    Raises
    ------
    TrainingError
        If the loss became NaN or infinite.
    segmentation.training.callbacks.Interrupted
        If SIGINT or SIGTERM came; the state of the last whole epoch is saved.
    """
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    state = read_state(checkpoint)
    discard_unfinished(checkpoint, state)
    epochs_done = state["epochs_done"] if state else 0
    write_history(folder / "history.csv", state["history"] if state else [])

    batches = NucleiSequence(
        train,
        config.targets,
        batch_size=config.batch_size,
        crop_size=config.crop_size,
        seed=config.seed,
        workers=config.workers,
    )
    batches.epoch = epochs_done
    schedule = callbacks.LearningRateSchedule(len(batches), config.epochs, time_limit)
    reduce_learning_rate = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=0.5, patience=max(config.patience // 3, 1), min_lr=config.learning_rate / 100
    )
    early_stopping = keras.callbacks.EarlyStopping("val_loss", patience=config.patience, restore_best_weights=True)
    best = keras.callbacks.ModelCheckpoint(
        checkpoint / "best-{epoch:05d}.weights.h5", "val_loss", save_best_only=True, save_weights_only=True
    )
    interrupts = callbacks.InterruptHandler()
    saved = {
        "schedule": (schedule, ("learning_rate",)),
        "reduce_learning_rate": (reduce_learning_rate, ("best", "wait", "cooldown_counter")),
        "early_stopping": (early_stopping, ("best", "wait", "best_epoch")),
        "best": (best, ("best",)),
    }
    used = [
        callbacks.EpochSetter(batches),
        callbacks.Stopwatch(),
        keras.callbacks.TerminateOnNaN(raise_error=True),
        *([time_limit] if time_limit else []),
        schedule,
        reduce_learning_rate,
        callbacks.PlateauReader(schedule),
        early_stopping,
        best,
        keras.callbacks.CSVLogger(folder / "history.csv", append=epochs_done > 0),
        *([keras.callbacks.TensorBoard(folder / "tensorboard")] if tensorboard else []),
        interrupts,
        Checkpoint(checkpoint, saved),
    ]
    # A training that the time limit ended goes on; one that has stopped getting better does not.
    exhausted = state is not None and state["callbacks"]["early_stopping"]["wait"] >= config.patience
    if not exhausted:
        try:
            model.fit(
                feed(batches),
                epochs=config.epochs,
                initial_epoch=epochs_done,
                validation_data=feed(MiddleWindows(val, config.targets, config.batch_size, config.crop_size)),
                callbacks=used,
                shuffle=False,
                verbose=verbose,
            )
        except RuntimeError as error:
            if "NaN" not in str(error):
                raise
            raise TrainingError(
                f"the loss became NaN or infinite. The weights of the last whole epoch are in {checkpoint}. "
                f"Train again with a lower --learning-rate than {config.learning_rate:g}"
            ) from error
        finally:
            interrupts.restore()
        state = read_state(checkpoint)
    model.load_weights(checkpoint / state["best_weights"])
    return state["history"]


def _is_tensorflow_on_cpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")

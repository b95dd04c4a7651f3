"""How batches get to Keras."""

import keras


def feed(sequence: keras.utils.Sequence):
    """What to give to ``model.fit`` in place of a sequence, so that no epoch ends with a wait.

    Under TensorFlow, Keras draws the batches of a sequence through ``tf.data``, whose tuning thread is on. Between two
    looks at the pipeline that thread sleeps, twice as long each time, up to a minute; and when the iterator of an epoch
    is taken down it is waited for. So an epoch took up to twice its time, with idle processors (TensorFlow 2.21, Keras
    3.15: 50 s of waiting after 60 s of work). Keras turns the tuning off only where its own loader threads are used,
    which keep batches from one epoch to the next. Here it is turned off; there is nothing to tune.

    Parameters
    ----------
    sequence : keras.utils.Sequence
        Gives batches of (images, targets), both (B, H, W, C) float32.

    Returns
    -------
    tf.data.Dataset or keras.utils.Sequence
        The same batches in the same order; under another backend than TensorFlow, the sequence itself.
    """
    if keras.backend.backend() != "tensorflow":
        return sequence
    import tensorflow as tf

    images, targets = sequence[0]
    dataset = tf.data.Dataset.from_generator(
        lambda: (sequence[index] for index in range(len(sequence))),
        output_signature=tuple(tf.TensorSpec((None, *batch.shape[1:]), tf.float32) for batch in (images, targets)),
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.apply(tf.data.experimental.assert_cardinality(len(sequence))).prefetch(2).with_options(options)

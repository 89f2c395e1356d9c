"""A contestant: Keras on TensorFlow, by the code path of the reference's notebook.

Layers in the functional API, a `Model` with its own `train_step` around a `GradientTape`, metrics that track three losses,
`compile` with Adam and `fit`. The notebook's data set decodes JPEG files anew in every epoch; here the decoded images are in
memory, which is kinder to Keras. Shuffling, batching, scaling and prefetching are as `image_dataset_from_directory` does them.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from timing import Stopwatch, check_parameters, contestant_arguments, hand_back

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
try:
    import keras
    import tensorflow as tf
    from keras import layers
except ImportError as error:
    sys.exit(f"{sys.executable} cannot import Keras ({error}): see benchmarks/README.md for how to install it.")

LATENTS = 200
WIDTH = 128


class Sampling(layers.Layer):
    """Draws from the posterior."""

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        return mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))


def _normalised(x: Any) -> Any:
    return layers.LeakyReLU()(layers.BatchNormalization()(x))


def make_encoder() -> Any:
    """Return images to (mean, log-variance, sample)."""
    inputs = x = layers.Input(shape=(32, 32, 3))
    for _ in range(4):
        x = _normalised(layers.Conv2D(WIDTH, kernel_size=3, strides=2, padding="same")(x))
    x = layers.Flatten()(x)
    mean, log_variance = layers.Dense(LATENTS)(x), layers.Dense(LATENTS)(x)
    return keras.Model(inputs, [mean, log_variance, Sampling()([mean, log_variance])])


def make_decoder() -> Any:
    """Return latents to images."""
    inputs = layers.Input(shape=(LATENTS,))
    x = layers.Reshape((2, 2, WIDTH))(_normalised(layers.Dense(WIDTH * 2 * 2)(inputs)))
    for _ in range(4):
        x = _normalised(layers.Conv2DTranspose(WIDTH, kernel_size=3, strides=2, padding="same")(x))
    outputs = layers.Conv2DTranspose(3, kernel_size=3, strides=1, padding="same", activation="sigmoid")(x)
    return keras.Model(inputs, outputs)


class VAE(keras.Model):
    """Encoder, decoder, and the step between two batches."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = make_encoder(), make_decoder()
        self.trackers = {name: keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "kl")}

    @property
    def metrics(self) -> list[Any]:
        return list(self.trackers.values())

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            mean, log_variance, latents = self.encoder(data, training=True)
            images = self.decoder(latents, training=True)
            reconstruction = tf.reduce_mean(2000 * keras.losses.mean_squared_error(data, images))
            divergence = -0.5 * (1 + log_variance - tf.square(mean) - tf.exp(log_variance))
            kl = tf.reduce_mean(tf.reduce_sum(divergence, axis=1))
            loss = reconstruction + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for tracker, value in zip(self.metrics, (loss, reconstruction, kl), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.metrics}


def batches(images: np.ndarray[Any, Any], batch: int) -> Any:
    """Return the images as a `tf.data` pipeline of float batches in [0, 1]."""
    faces = tf.data.Dataset.from_tensor_slices(images).shuffle(8 * batch).batch(batch).prefetch(tf.data.AUTOTUNE)
    return faces.map(lambda loaded: tf.cast(loaded, "float32") / 255.0)


def main() -> None:
    """Fit the warm-up, then measure a second `fit`, which traces nothing anew."""
    arguments = contestant_arguments("Keras, as the reference's notebook.")
    images = np.load(arguments.images)
    model = VAE()
    check_parameters(sum(int(np.prod(weight.shape)) for weight in model.trainable_weights))
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=5e-4))
    first = max(arguments.warmup, 1) * arguments.batch
    warm, measured = batches(images[:first], arguments.batch), batches(images[first:], arguments.batch)
    model.fit(warm, epochs=1)
    watch = Stopwatch()
    watch.start()
    history = model.fit(measured, epochs=1)
    watch.stop()
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    loss = float(history.history["loss"][-1])
    hand_back(arguments.result, {**watch.figures(len(images) - first, versions), "loss": loss})


if __name__ == "__main__":
    main()

"""What do we serve in the comparison of batching? The model with numpy, and a device whose time is known exactly."""

import time

from workload import BATCH_MAX, SHAPES, predict_batch, weights

from glowplug import Batch, Image, Scale, endpoint

SCALE = Scale(min=1, max=1, hold=1024)
NUMPY = Image.python().pip("numpy").env(OPENBLAS_NUM_THREADS="1")
FIXED_S, ITEM_S = 0.005, 0.0002  # what one run of the sleeping device costs, and each call in it

weights()


@endpoint(
    app="model",
    scale=SCALE,
    image=NUMPY,
    batch=Batch(max=BATCH_MAX),
    examples=[{"x": [0.5] * SHAPES[0][0]}],
)
def predict(x: list[list[float]]) -> list[list[float]]:
    return predict_batch(x)


@endpoint(app="model", scale=SCALE, image=NUMPY, batch=Batch(max=BATCH_MAX), examples=[{"x": 1}])
def device(x: list[int]) -> list[int]:
    time.sleep(FIXED_S + ITEM_S * len(x))
    return x

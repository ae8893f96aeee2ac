"""Sound in, picture out: an array goes in and an array comes out, without JSON between them."""

from typing import Annotated

import numpy as np

from glowplug import Image, Tensor, endpoint

WINDOW = 512  # samples; half of them are new in each frame
FLOOR_DB = -100.0

Samples = Annotated[np.ndarray, Tensor("float32", shape=(None,))]
Picture = Annotated[np.ndarray, Tensor("float32", shape=(None, WINDOW // 2 + 1))]


@endpoint(image=Image.python().pip("numpy>=2"))
def spectrum(samples: Samples, gain: float = 1.0) -> Picture:
    """Return how loud each frequency is (in dB, a column each) over time (a row every 256 samples)."""
    if len(samples) < WINDOW:
        raise ValueError(f"{len(samples)} samples; send at least {WINDOW}")
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[:: WINDOW // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW) * gain)) ** 2 / WINDOW
    return np.maximum(10 * np.log10(power + 1e-12), FLOOR_DB).astype(np.float32)

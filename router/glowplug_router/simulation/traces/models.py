"""How long does a call take that a trace only describes? By tokens, or one time for all."""

from dataclasses import dataclass

from glowplug.clock import MILLISECOND, SECOND

# router.md §4.2: service 0.05 + context/8000 + 0.03 × generated seconds, of an 8-way batched 7B-class model.
BASE_NS = 50 * MILLISECOND
PREFILL_TOKENS_S = 8000
DECODE_NS = 30 * MILLISECOND


@dataclass(frozen=True, slots=True)
class TokenCost:
    """What a language model takes: a fixed part, the prompt at a rate, and each token that comes out."""

    base_ns: int = BASE_NS
    prefill_tokens_s: int = PREFILL_TOKENS_S
    decode_ns: int = DECODE_NS

    def service_ns(self, prompt: float, generated: float) -> int:
        """Return ns for so many tokens in and out."""
        prefill_ns = round(prompt * SECOND / max(1, self.prefill_tokens_s))
        return self.base_ns + prefill_ns + round(generated * self.decode_ns)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a trace is made into calls, where it leaves something open."""

    cost: TokenCost = TokenCost()
    service_ns: int = SECOND  # of a call whose trace says nothing of it
    seed: int = 0  # for what a trace leaves to chance: when in its minute a call came

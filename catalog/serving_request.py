"""What may be asked of a model: one set of limits for the chat page and the API."""

from __future__ import annotations

from dataclasses import dataclass

MOST_STOPS = 4
MOST_TURNS = 1000
# Choices of one answer, which are written one after the other.
MOST_CHOICES = 8
# A seed is a whole number that torch takes.
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Limit:
    """A number from `low` to `high`; `default` is what no value means, `step` what a field moves by."""

    low: float
    high: float
    default: float
    step: float = 0.1

    def allows(self, value: float) -> bool:
        return self.low <= value <= self.high


# By the names of OpenAI's API, and those that vLLM adds to it.
LIMITS = {
    "temperature": Limit(0, 2, 1),
    "top_p": Limit(0.01, 1, 1, 0.01),
    "presence_penalty": Limit(-2, 2, 0),
    "frequency_penalty": Limit(-2, 2, 0),
    "repetition_penalty": Limit(0.1, 2, 1, 0.01),
    "top_k": Limit(0, 1_000_000, 0, 1),
    "max_tokens": Limit(1, 1_000_000, 0, 1),
}

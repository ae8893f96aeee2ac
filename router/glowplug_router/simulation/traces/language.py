"""What do traces of language models say? Azure LLM 2023 and 2024, BurstGPT, Mooncake.

Azure/AzurePublicDataset `AzureLLMInferenceTrace_*.csv` (CC-BY 4.0), HPMLL/BurstGPT `BurstGPT_*.csv` (CC-BY 4.0),
kvcache-ai/Mooncake `FAST25-release/traces/*.jsonl` (Apache-2.0).
"""

from collections.abc import Iterator
from pathlib import Path

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.simulation.replay.scene import Request
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import TraceError, documents, slug, table

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURSTGPT = ("Timestamp", "Model", "Request tokens", "Response tokens")
MOONCAKE = ("timestamp", "input_length", "output_length")
MOONCAKE_CSV = ("timestamp_ms", "input_length", "output_length")


def azure(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of one Azure LLM file; the file is the endpoint."""
    name = f"azure-llm/{slug(path.name.partition('.')[0])}"
    for row in table(path, AZURE):
        service_ns = reading.cost.service_ns(
            row.number("ContextTokens"), row.number("GeneratedTokens")
        )
        size = round(row.number("ContextTokens"))
        yield Request(row.moment_ns("TIMESTAMP"), name, service_ns, size=size)


def burstgpt(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of BurstGPT, an endpoint a model; the third release's elapsed time is taken as it is."""
    for row in table(path, BURSTGPT):
        service_ns = reading.cost.service_ns(
            row.number("Request tokens"), row.number("Response tokens")
        )
        if "Elapsed time" in row and row.text("Elapsed time"):
            service_ns = row.seconds_ns("Elapsed time")
        affinity = row.text("Session ID") if "Session ID" in row else ""
        name, size = f"burstgpt/{slug(row.text('Model'))}", round(row.number("Request tokens"))
        yield Request(row.seconds_ns("Timestamp"), name, service_ns, affinity=affinity, size=size)


def mooncake(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of a Mooncake file; those whose prompts begin alike have one affinity."""
    for number, document in documents(path):
        at_ms, prompt, generated = (document.get(name) for name in MOONCAKE)
        if not all(isinstance(value, int) and value >= 0 for value in (at_ms, prompt, generated)):
            raise TraceError(
                f"{path.name}, line {number}: {', '.join(MOONCAKE)} are not all numbers from 0 on",
                hint="mend or remove that line",
            )
        blocks = document.get("hash_ids") or [""]
        yield Request(
            int(at_ms or 0) * MILLISECOND,
            "mooncake/llm",
            reading.cost.service_ns(prompt or 0, generated or 0),
            affinity=str(blocks[0]),
            size=prompt or 0,
        )


def mooncake_lengths(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of the table that is kept in tests/benchmarks/traces."""
    for row in table(path, MOONCAKE_CSV):
        service_ns = reading.cost.service_ns(
            row.number("input_length"), row.number("output_length")
        )
        at_ns = round(row.number("timestamp_ms")) * (SECOND // 1000)
        affinity, size = row.text("first_block_shared"), round(row.number("input_length"))
        yield Request(at_ns, "mooncake/llm", service_ns, affinity=affinity, size=size)

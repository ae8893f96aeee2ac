"""What do traces of serverless functions say? Azure Functions 2019 (counts a minute) and 2021 (invocations).

Azure/AzurePublicDataset: `invocations_per_function_md.anon.d*.csv` and
`AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt` (both CC-BY 4.0).
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from glowplug.clock import MINUTE
from glowplug_router.simulation.replay.scene import Request
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import table

COUNTS = ("HashApp", "HashFunction", "Trigger", "1", "1440")
INVOCATIONS = ("app", "func", "end_timestamp", "duration")
MINUTES = 1440
HASH_SHOWN = 10  # characters of an anonymous name: enough to tell some 50,000 functions apart


def counts(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of a day of Azure Functions 2019. When in its minute each came is drawn; the trace says nothing.

    The file has a row a function, so calls come ordered by function. All take `reading.service_ns`.
    """
    random = Random(reading.seed)
    for row in table(path, COUNTS):
        name = f"functions/{row.text('HashFunction')[:HASH_SHOWN]}"
        for minute in range(1, MINUTES + 1):
            calls = int(row.number(str(minute))) if row.text(str(minute)) != "0" else 0
            for _ in range(calls):
                at_ns = (minute - 1) * MINUTE + random.randrange(MINUTE)
                yield Request(at_ns, name, reading.service_ns)


def invocations(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of Azure Functions 2021, in the order of their ends; each began its duration earlier."""
    for row in table(path, INVOCATIONS):
        name = f"functions/{row.text('app')[:HASH_SHOWN]}-{row.text('func')[:HASH_SHOWN]}"
        service_ns = row.seconds_ns("duration")
        yield Request(max(0, row.seconds_ns("end_timestamp") - service_ns), name, service_ns)

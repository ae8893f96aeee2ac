"""Are durations and sizes read as people mean them?"""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MILLISECOND, MINUTE, SECOND
from glowplug.errors import DefinitionError
from glowplug.units import DURATION_MAX_NS, duration_ns, size_bytes


@pytest.mark.parametrize(
    ("written", "ns"),
    [
        ("5m", 5 * MINUTE),
        ("1.5s", 1_500_000_000),
        ("250ms", 250 * MILLISECOND),
        ("2h", 2 * HOUR),
        ("0s", 0),
        (" 3 s ", 3 * SECOND),
        (5, 5 * SECOND),
        (0.25, 250 * MILLISECOND),
        (timedelta(minutes=2), 2 * MINUTE),
        ("366d", DURATION_MAX_NS),
    ],
)
def test_a_duration_is_text_with_a_unit_or_a_number_of_seconds(
    written: str | float | timedelta, ns: int
) -> None:
    assert duration_ns(written, "scale.up_after") == ns


@pytest.mark.parametrize(
    "written",
    [
        "5",
        "m",
        "-1s",
        "1h30m",
        "",
        "5 M",
        "1e3s",
        "٣s",
        True,
        -1,
        float("nan"),
        float("inf"),
        None,
        "367d",
    ],
)
def test_what_is_no_duration_is_refused_by_the_options_name(written: object) -> None:
    with pytest.raises(DefinitionError, match=r"scale\.up_after=.*not a duration") as refused:
        duration_ns(written, "scale.up_after")  # type: ignore[arg-type]  # wrong on purpose

    assert "250ms" in refused.value.hint


@given(st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s"]))
def test_whole_durations_are_exact(number: int, unit: str) -> None:
    size = {"ns": 1, "us": 1000, "ms": MILLISECOND, "s": SECOND}[unit]

    assert duration_ns(f"{number}{unit}", "x") == number * size


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert 0 <= duration_ns(text, "x") <= DURATION_MAX_NS
    except DefinitionError:
        pass


@pytest.mark.parametrize(
    ("written", "size"),
    [("512MB", 512_000_000), ("2GiB", 2 * 1024**3), ("1.5KiB", 1536), ("7B", 7), (4096, 4096)],
)
def test_a_size_says_which_thousand_it_means(written: str | int, size: int) -> None:
    assert size_bytes(written, "memory") == size


@pytest.mark.parametrize("written", ["2G", "2gb", "-1MB", "", "MB", True, -1, 1.5])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(DefinitionError, match=r"memory=.*not a size"):
        size_bytes(written, "memory")  # type: ignore[arg-type]  # wrong on purpose


@given(st.integers(0, 10**6), st.sampled_from(["B", "KB", "MB", "GB", "KiB", "MiB", "GiB", "TiB"]))
def test_sizes_are_exact(number: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000

    assert size_bytes(f"{number}{unit}", "x") == number * base ** "BKMGT".index(unit[0])

import json
from typing import get_args

from glowplug.clock import MILLISECOND, SECOND, ManualClock
from glowplug.worker.batcher import Flush
from glowplug_router.gateway.answers import HEADS_MAX, Heads, server_timing, trouble_answer
from glowplug_router.gateway.front import Held
from glowplug_router.gateway.keys import Keyring
from glowplug_router.gateway.metrics import Metrics
from glowplug_router.gateway.problems import Trouble, refusal
from glowplug_router.gateway.site import is_local, merged
from glowplug_router.gateway.tally import BOUNDS_NS, REASONS, Tallies


def test_a_head_has_the_replicas_headers_without_ours_or_broken_ones() -> None:
    given = (
        ("content-type", "a/b"),
        ("x-a", "1\r\nx-b: 2"),
        ("X-C", "1"),
        ("glowplug-executed", "no"),
    )
    head = Heads().of(200, given, "yes", 3, 2)

    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"content-type: a/b",
        b"glowplug-executed: yes",
        b"glowplug-version: v3",
        b"glowplug-attempts: 2",
        b"",
    ]


def test_remembered_heads_are_bounded() -> None:
    heads = Heads()
    for n in range(HEADS_MAX + 5):
        heads.of(200, (("x-n", str(n)),), "yes", 1, 1)

    assert len(heads._known) <= HEADS_MAX


def test_server_timing_lists_the_phases_in_milliseconds() -> None:
    timings = (("run", 2 * MILLISECOND), ("bad name", 1), ("queue", 1))

    assert (
        server_timing(MILLISECOND // 2, timings)
        == b"server-timing: queue;dur=0.500, run;dur=2.000\r\n"
    )


def test_retry_after_is_rounded_up_to_whole_seconds() -> None:
    trouble = refusal("hold_full", "a/e@1", retry_after_ns=SECOND + 1)
    answer = trouble_answer(trouble, "id", date=b"", close=True)
    head, _, body = answer.partition(b"\r\n\r\n")

    assert b"retry-after: 2\r\n" in head
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert json.loads(body)["retry_after"] == 2
    assert json.loads(body)["phase"] == "start"


def test_an_unknown_code_of_a_replica_is_a_server_error() -> None:
    assert Trouble("what").status == 500


def test_held_bytes_have_a_bound() -> None:
    held = Held(10)

    assert held.take(10)
    assert not held.take(1)
    held.release(10)
    assert held.take(1)


def test_the_metrics_count_calls_by_outcome_and_time() -> None:
    tallies = Tallies()
    tally = tallies.of("a/e@2")
    tally.over(200, BOUNDS_NS[0])
    tally.over(499, BOUNDS_NS[-1] + 1)
    tally.cold_starts += 1
    metrics = Metrics(tallies)
    text = metrics.text().decode()

    assert 'glowplug_calls_total{app="a",code="499",endpoint="e",version="2"} 1.0' in text
    assert 'glowplug_call_seconds_bucket{app="a",endpoint="e",le="0.001",version="2"} 1.0' in text
    assert 'glowplug_call_seconds_count{app="a",endpoint="e",version="2"} 2.0' in text
    assert 'glowplug_cold_starts_total{app="a",endpoint="e",version="2"} 1.0' in text
    tallies.forget("a/e@2")
    assert "glowplug_calls_total{" not in metrics.text().decode()


def test_the_metrics_count_batches_by_size_and_by_why_they_were_cut() -> None:
    tallies = Tallies()
    tallies.of("a/e@1").batch(8, "full")
    tallies.of("a/e@2").batch(3, "full")
    tallies.of("a/e@2").batch(1, "idle")
    text = Metrics(tallies).text().decode()

    assert 'glowplug_batches_total{app="a",endpoint="e",reason="full"} 2.0' in text
    assert 'glowplug_batches_total{app="a",endpoint="e",reason="idle"} 1.0' in text
    assert 'glowplug_batch_size_bucket{app="a",endpoint="e",le="2.0",version="2"} 1.0' in text
    assert 'glowplug_batch_size_bucket{app="a",endpoint="e",le="4.0",version="2"} 2.0' in text
    assert 'glowplug_batch_size_sum{app="a",endpoint="e",version="2"} 4.0' in text


def test_a_replica_that_says_anything_makes_no_more_series_than_there_are_reasons() -> None:
    tally = Tallies().of("a/e@1")
    for n in range(20):
        tally.batch(1, f"reason {n}")
    for reason in get_args(Flush):
        tally.batch(1, reason)

    assert tally.batches == {"other": 20} | dict.fromkeys(REASONS, 1)


def test_short_and_long_phases_are_written_with_three_decimals() -> None:
    times = (("run", 4_095_999), ("encode", 4_096_000), ("decode", 1), ("warm", -5_000))

    assert server_timing(61 * SECOND, times) == (
        b"server-timing: queue;dur=61000.000, run;dur=4.095, encode;dur=4.096, decode;dur=0.000, warm;dur=-0.005\r\n"
    )


def test_schemas_of_several_apps_are_merged_without_mixing_their_components() -> None:
    def document(app: str) -> str:
        schema = {"$ref": "#/components/schemas/In"}
        return json.dumps(
            {
                "info": {"title": app},
                "paths": {f"/{app}/e": schema},
                "components": {"schemas": {"In": {}}},
            }
        )

    whole = json.loads(merged({"b": document("b"), "a": document("a")}))

    assert whole["info"]["title"] == "a, b"
    assert set(whole["components"]["schemas"]) == {"a.In", "b.In"}
    assert whole["paths"]["/a/e"]["$ref"] == "#/components/schemas/a.In"
    assert json.loads(merged({}))["paths"] == {}


def test_only_a_client_of_this_machine_itself_is_local() -> None:
    assert is_local(("127.0.0.1", 1), {})
    assert is_local(("::1", 1), {})
    assert not is_local(("192.0.2.1", 1), {})
    assert not is_local(("127.0.0.1", 1), {b"x-forwarded-for": b"192.0.2.1"})
    assert not is_local(None, {})


def test_an_empty_keyring_lets_nobody_in() -> None:
    assert Keyring(ManualClock()).check(b"Bearer gp_aaaaaaaa_" + b"x" * 49) is None

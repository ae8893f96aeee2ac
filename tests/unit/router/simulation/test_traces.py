import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MILLISECOND, MINUTE, SECOND
from glowplug_router.simulation.replay import Request
from glowplug_router.simulation.traces import alibaba, spot
from glowplug_router.simulation.traces.formats import FORMATS, load, recognised
from glowplug_router.simulation.traces.models import Reading, TokenCost
from glowplug_router.simulation.traces.presets import PRESETS, made
from glowplug_router.simulation.traces.reading import LINE_MAX, TraceError
from glowplug_router.simulation.traces.recorded import lines_of

TRACES = Path(__file__).parents[3] / "benchmarks" / "traces"
MINUTES = ",".join(str(minute) for minute in range(1, 1441))
NONE = ",".join(["0"] * 1438)

# The first lines of each format, as published.
SAMPLES = {
    "azure-llm": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.500000+00:00,8000,100\n",
    "azure-functions-2019": f"HashOwner,HashApp,HashFunction,Trigger,{MINUTES}\no,a,f,http,0,2,{NONE}\n",
    "azure-functions-2021": "app,func,end_timestamp,duration\na,f,10.5,0.5\na,g,11.0,3.0\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,230,1317,Conversation log\n",
    "gentd26": "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,prompt_length,"
    "negative_prompt_length,num_images_per_prompt,num_inference_steps,checkpoint_model_version_id,num_lora\n"
    "2024-11-15 16:57:50,TXT_2_IMG,SUCCEED,32.0,G0000,63.0,26.0,1.0,30.0,M0000,0\n"
    "2024-11-17 04:44:00,TXT_2_IMG,FAILED,3.0,G0019,67.0,,2.0,30.0,M0013,0\n",
    "mooncake-lengths": "timestamp_ms,input_length,output_length,n_blocks,first_block_shared\n0,40160,6,79,0\n",
    "mooncake": '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n',
    "glowplug": '{"at_ms": 1250.5, "endpoint": "app/one@v2", "service_ms": 40, "priority": "batch"}\n',
}


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def test_every_format_has_a_sample() -> None:
    assert {format.name for format in FORMATS} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("file", ["trace.txt", "trace.csv.gz"])
def test_a_format_is_seen_from_its_first_line_packed_or_not(
    tmp_path: Path, name: str, file: str
) -> None:
    path = written(tmp_path, SAMPLES[name], file)

    assert recognised(path).name == name
    assert load(path)[0].at_ns == 0


def test_tokens_become_time(tmp_path: Path) -> None:
    first, second = load(written(tmp_path, SAMPLES["azure-llm"]))

    assert second.at_ns - first.at_ns == 1_490_070_000
    assert second.service_ns == (50 + 1000 + 3000) * MILLISECOND
    assert second.endpoint == "azure-llm/trace"
    assert TokenCost(base_ns=1, prefill_tokens_s=SECOND, decode_ns=2).service_ns(3, 4) == 1 + 3 + 8


def test_counts_a_minute_are_spread_over_their_minute(tmp_path: Path) -> None:
    path = written(tmp_path, SAMPLES["azure-functions-2019"])
    found = load(path, reading=Reading(service_ns=7, seed=3))

    assert len(found) == 2
    assert 0 < found[1].at_ns < MINUTE
    assert found == load(path, reading=Reading(service_ns=7, seed=3))
    assert found != load(path, reading=Reading(service_ns=7, seed=4))
    assert found[0].service_ns == 7


def test_invocations_are_put_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    found = load(written(tmp_path, SAMPLES["azure-functions-2021"]))

    assert [(r.endpoint, r.at_ns, r.service_ns) for r in found] == [
        ("functions/a-g", 0, 3 * SECOND),
        ("functions/a-f", 2 * SECOND, SECOND // 2),
    ]


def test_burstgpt_has_an_endpoint_a_model_and_its_third_release_says_how_long(
    tmp_path: Path,
) -> None:
    first = load(written(tmp_path, SAMPLES["burstgpt"]))
    third = load(
        written(
            tmp_path,
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,s1,2.5,GPT-4,1,2,3,API log\n6,s1,,GPT-4,0,0,0,API log\n",
        )
    )

    assert [request.endpoint for request in first] == ["burstgpt/chatgpt", "burstgpt/gpt-4"]
    assert [request.service_ns for request in third] == [2_500_000_000, 50 * MILLISECOND]
    assert third[0].affinity == "s1"


def test_failed_calls_of_gentd26_are_left_out(tmp_path: Path) -> None:
    (only,) = load(written(tmp_path, SAMPLES["gentd26"]))

    assert (only.endpoint, only.service_ns, only.tenant) == ("gentd26/m0000", 32 * SECOND, "G0000")


def test_prompts_that_begin_alike_have_one_affinity(tmp_path: Path) -> None:
    (one,) = load(written(tmp_path, SAMPLES["mooncake"]))
    bare = '{"timestamp": 0, "input_length": 1, "output_length": 1}\n'

    assert one.affinity == "46"
    assert load(written(tmp_path, bare))[0].affinity == ""


@given(
    st.lists(
        st.builds(
            Request,
            st.integers(0, 10**9).map(lambda ms: ms * MILLISECOND),
            st.sampled_from(["app/one", "app/two"]),
            st.integers(0, 10**6).map(lambda ms: ms * MILLISECOND),
            st.sampled_from(["critical", "interactive", "standard", "batch"]),
            st.sampled_from(["", "ann"]),
            st.integers(0, 10**6).map(lambda ms: ms * MILLISECOND),
            st.sampled_from(["", "session"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_recorded_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, requests: list[Request]
) -> None:
    requests.sort(key=lambda request: request.at_ns)
    path = written(tmp_path_factory.mktemp("r"), "\n".join(lines_of(requests)), "t.jsonl")
    found = load(path)

    assert [(r.endpoint, r.service_ns, r.klass, r.tenant, r.deadline_ns) for r in found] == [
        (r.endpoint, r.service_ns, r.klass, r.tenant, r.deadline_ns) for r in requests
    ]
    assert [r.at_ns for r in found] == [r.at_ns - requests[0].at_ns for r in requests]


def test_a_recording_without_times_takes_the_one_that_is_given(tmp_path: Path) -> None:
    path = written(tmp_path, '{"at_ms": 0, "endpoint": "a/b"}')

    assert load(path, reading=Reading(service_ns=5))[0].service_ns == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,x,1\n",
            "line 2: ContextTokens is 'x'",
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,nan,1\n",
            "line 2: ContextTokens",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n\nsoon,1,1\n", "line 3: TIMESTAMP is 'soon'"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,1\n", "line 2: 2 cells"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "has no calls"),
        ("", "no known format"),
        ("a,b\n1,2\n", "no known format"),
        ("{nonsense\n", "no known format"),
        ("[1]\n", "no known format"),
        ('{"at_ms": 0, "endpoint": "a/b"}\n{broken\n', "line 2: not JSON"),
        ('{"at_ms": 0, "endpoint": "a/b"}\n[]\n', "line 2: not an object"),
        ('{"at_ms": -1, "endpoint": "a/b"}\n', "line 1: at_ms is -1"),
        ('{"at_ms": true, "endpoint": "a/b"}\n', "line 1: at_ms is True"),
        ('{"at_ms": 0, "endpoint": 3}\n', "endpoint is not a name"),
        ('{"at_ms": 0, "endpoint": "a/b", "priority": "vip"}\n', "priority is 'vip'"),
        ('{"timestamp": 1, "input_length": "x", "output_length": 1}\n', "line 1: timestamp"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TraceError, match=said) as raised:
        load(written(tmp_path, text))

    assert raised.value.hint


def test_a_file_that_is_no_text_or_not_there_or_too_wide_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x00")
    (tmp_path / "c.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "d.csv").write_text("x" * (LINE_MAX + 1))
    for name in ("a.csv", "b.csv", "c.csv.gz"):
        with pytest.raises(TraceError, match="cannot read"):
            load(tmp_path / name)
    with pytest.raises(TraceError, match="longer than"):
        load(tmp_path / "d.csv")


def test_a_format_that_does_not_fit_or_is_unknown_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, SAMPLES["burstgpt"])

    with pytest.raises(TraceError, match="has no column TIMESTAMP"):
        load(path, "azure-llm")
    with pytest.raises(TraceError, match="no format nope"):
        load(path, "nope")


def test_a_limit_bounds_what_is_read(tmp_path: Path) -> None:
    assert len(load(written(tmp_path, SAMPLES["burstgpt"]), limit=1)) == 1


def test_the_traces_that_are_kept_can_be_read() -> None:
    azure = load(TRACES / "azure_llm_2023_code.csv.gz")
    mooncake = load(TRACES / "mooncake_synthetic_lengths.csv.gz")

    assert len(azure) == 8819
    # router.md §4.2: three 8-way replicas are ready for the whole hour with 2.9 GPU-hours; perfect packing takes 0.35.
    assert sum(r.service_ns for r in azure) / 8 / HOUR == pytest.approx(0.35, abs=0.01)
    assert len(mooncake) == 3993


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "gentd26-like"])
def test_named_traffic_is_the_same_for_a_seed(name: str) -> None:
    found = made(f"synthetic:{name}", 1)

    assert found == made(f"synthetic:{name}", 1) != made(f"synthetic:{name}", 2)
    assert all(one.at_ns <= other.at_ns for one, other in pairwise(found))


def test_traffic_of_no_name_is_refused() -> None:
    with pytest.raises(TraceError, match="no traffic synthetic:nope"):
        made("synthetic:nope", 0)


# -- spot, pods and machines


def test_bamboo_counts_nodes_by_seconds_or_hours() -> None:
    by_seconds = spot.bamboo(TRACES / "bamboo" / "g4dn-xlarge-us-east-1c.csv")
    by_hours = spot.bamboo(TRACES / "bamboo" / "p2-xlarge.csv")

    assert (by_seconds.at(21_528 * SECOND), by_seconds.at(21_556 * SECOND)) == (0, 12)
    assert by_hours.at(HOUR // 4) == 8


@pytest.mark.parametrize(("ticks", "counts"), [([1, 1, 0], (1, 0)), ([[1, 1], [0, 1]], (2, 1))])
def test_skypilot_counts_nodes_at_every_tick(
    tmp_path: Path, ticks: list[object], counts: tuple[int, int]
) -> None:
    document = {"metadata": {"gap_seconds": 300}, "data": ticks}
    found = spot.skypilot(written(tmp_path, json.dumps(document), "z.json"))

    assert found.counts == counts


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"metadata": {"gap_seconds": 0}, "data": [1]}', "nonsense"]
)
def test_what_is_no_skypilot_trace_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TraceError, match="no SkyPilot trace"):
        spot.skypilot(written(tmp_path, text, "z.json"))


def test_times_that_go_back_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="times go back"):
        spot.bamboo(written(tmp_path, "5,1\n4,2\n"))


def test_openb_pods_and_machines_are_read(tmp_path: Path) -> None:
    pods = written(
        tmp_path,
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
        "openb-pod-0001,6000,12288,1,460,V100M16|V100M32,LS,Running,427061,12902960,427061\n",
    )
    machines = written(
        tmp_path,
        "sn,cpu_milli,memory_mib,gpu,model\nopenb-node-0021,64000,262144,2,P100\n",
        "m.csv",
    )
    (pod,), (host,) = alibaba.pods(pods), alibaba.hosts(machines)

    assert (pod.at_ns, pod.gpu_milli, pod.models) == (427_061 * SECOND, 460, ("V100M16", "V100M32"))
    assert (host.gpus, host.model, host.memory_bytes) == (2, "P100", 262_144 << 20)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_loader_reads_or_says_what_it_cannot_read_whatever_is_lost(
    tmp_path: Path, name: str
) -> None:
    text = SAMPLES[name]
    cuts = range(0, len(text), max(1, len(text) // 40))
    ends = [end_of(written(tmp_path, text[:at] + text[at + 1 :]), name) for at in cuts]

    assert all(ends)  # any other error would have come through


def end_of(path: Path, name: str) -> str:
    try:
        load(path, name)
    except TraceError as error:
        return error.hint
    return "read"

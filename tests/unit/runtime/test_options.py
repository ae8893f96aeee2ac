"""Does every option do what it says, or say why it cannot?"""

from typing import Any

import pytest

from glowplug import Image, Scale, Target, Timeouts, Volume, Window
from glowplug.clock import MINUTE, SECOND
from glowplug.declare import Declared, declared
from glowplug.errors import DefinitionError
from glowplug.options import EndpointOptions, gpus
from glowplug.spec import Policy, Targets, WindowSpec


def ask(**options: Any) -> Declared:
    return declared(EndpointOptions(**options))  # type: ignore[typeddict-item]  # wrong ones are tried, too


def test_the_defaults_cost_nothing_when_idle() -> None:
    asked = ask()

    assert asked.policy == Policy()
    assert asked.policy.min == 0
    assert asked.policy.auth == "key"
    assert asked.needs.gpu_count == 0


def test_scale_becomes_a_policy_in_nanoseconds() -> None:
    scale = Scale(
        min=1, max=8, buffer=1, target=2, up_after="1s", down_after=30, zero_after="10m", hold=5
    )

    assert ask(scale=scale, auth="public").policy == Policy(
        min=1,
        max=8,
        buffer=1,
        target_concurrency=2.0,
        up_after_ns=SECOND,
        down_after_ns=30 * SECOND,
        zero_after_ns=10 * MINUTE,
        hold=5,
        auth="public",
    )


def test_a_priority_is_the_class_of_calls_that_do_not_say() -> None:
    assert ask(priority="batch").policy == Policy(priority="batch")
    with pytest.raises(DefinitionError, match="priority='urgent' is not one of"):
        ask(priority="urgent")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"min": 5}, r"scale\.min=5 is more than scale\.max=4"),
        ({"min": -1}, r"scale\.min=-1"),
        ({"max": 0}, r"scale\.max=0"),
        ({"hold": 0}, r"scale\.hold=0"),
        ({"buffer": 9}, r"scale\.buffer=9 is more"),
        ({"min": "20%"}, "takes no percentage"),
        ({"target": "queue<300ms"}, "not a number of calls"),
        ({"target": 0}, "not a number of calls"),
        ({"target": True}, "not a number of calls"),
        ({"zero_after": "5"}, r"scale\.zero_after='5' is not a duration"),
        ({"max": True}, r"scale\.max=True"),
    ],
)
def test_a_scale_that_cannot_work_is_refused_where_it_is_written(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        Scale(**wrong)


def test_windows_targets_and_shares_become_a_policy_in_integers() -> None:
    scale = Scale(
        max=8,
        buffer="20%",
        target=Target(concurrency=3, qps=2.5, queue=1, p95="800ms", util="70%"),
        zero_after="auto",
        windows=[Window("0 8 * * mon-fri", "10h", tz="Europe/Berlin", min=2)],
    )

    assert ask(scale=scale).policy == Policy(
        max=8,
        buffer_permille=200,
        target_concurrency=3.0,
        targets=Targets(
            qps_milli=2500, queue_milli=1000, p95_ns=SECOND * 4 // 5, util_permille=700
        ),
        zero_after_ns=-1,
        windows=(
            WindowSpec(cron="0 8 * * mon-fri", for_ns=600 * MINUTE, tz="Europe/Berlin", min=2),
        ),
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"buffer": "0%"}, r"scale\.buffer='0%' is not a share"),
        ({"buffer": "many%"}, r"scale\.buffer='many%' is not a share"),
        ({"buffer": "2000%"}, "is not a share up to 1000 %"),
        ({"buffer": "lots"}, r"scale\.buffer='lots' must be a whole number"),
        ({"zero_after": "automatic"}, "is not a duration"),
        ({"windows": "0 8 * * *"}, "is not a list of windows"),
        ({"windows": ["0 8 * * *"]}, "is not a list of windows"),
        ({"windows": 3}, "is not a list of windows"),
        ({"windows": [Window("0 8 * * *", "1h", min=5)]}, "keeps 5 replicas, more than"),
        ({"windows": [Window("0 8 * * *", "1h")] * 17}, "has 17 windows"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused_where_it_is_written(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        Scale(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("0 8 * *", "1h"), "five fields"),
        (("0 8 * * someday", "1h"), "day of the week: 'someday' is not 0 to 7"),
        (("0 8 * * *", "1h", "Mars/Base"), "no time zone 'Mars/Base'"),
        (("0 8 * * *", "0s"), "at most 7 days"),
        (("0 8 * * *", "8d"), "at most 7 days"),
        ((5, "1h"), "Window"),
        (("0 8 * * *", "1h", "UTC", 0), r"window\.min=0"),
    ],
)
def test_a_window_that_never_opens_is_refused_where_it_is_written(
    wrong: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        Window(*wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"qps": 0}, r"target\.qps=0 is not a number above 0"),
        ({"queue": "3"}, r"target\.queue='3'"),
        ({"p95": 0}, "no call is that quick"),
        ({"util": "170%"}, "is not a share up to 100 %"),
        ({"rps": 3}, "has no option `rps`"),
    ],
)
def test_a_target_that_cannot_be_kept_is_refused_where_it_is_written(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        Target(**wrong)


def test_a_bare_timeout_limits_the_run() -> None:
    assert ask(timeout="30s").timeouts.run_ns == 30 * SECOND
    assert ask(timeout=Timeouts(queue="1s")).timeouts.queue_ns == SECOND
    with pytest.raises(DefinitionError, match=r"timeout\.run is 0"):
        ask(timeout=0)


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        (None, (0, ())),
        (2, (2, ())),
        ("A10G", (1, ("A10G",))),
        ("l40s:4", (4, ("L40S",))),
        (["L4", "A10G:1", "L4"], (1, ("L4", "A10G"))),
    ],
)
def test_gpus_are_a_count_or_models_in_order_of_preference(
    given: Any, needed: tuple[int, tuple[str, ...]]
) -> None:
    assert gpus(given) == needed


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("A10g0", "A10G"),
        ("H1000", "H100"),
        ("toaster", "gpu=1 takes any"),
        (["L4", "A10G:2"], 'gpu=["L4:2", "A10G:2"]'),
        ("A10G:x", '"A10G:2"'),
        ("A10G:0", "1 to 16"),
        ([3], 'gpu="A10G"'),
        (-1, "gpu=1"),
        (99, "0 to 16"),
    ],
)
def test_a_gpu_that_does_not_exist_is_refused_with_the_likely_one(given: Any, hint: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        gpus(given)

    assert hint in refused.value.hint


def test_cuda_without_a_gpu_is_refused_with_the_fix() -> None:
    with pytest.raises(DefinitionError, match="without a GPU") as refused:
        ask(device="cuda")

    assert "gpu=1" in refused.value.hint


@pytest.mark.parametrize(
    "name",
    "capacity budget retry affinity engine engines schedule route methods cors domains grpc openai mcp "
    "shm disk models".split(),
)
def test_an_option_that_is_planned_is_refused_by_name_with_what_to_do_instead(name: str) -> None:
    with pytest.raises(DefinitionError, match=f"`{name}` is not there yet") as refused:
        ask(**{name: 1})

    assert refused.value.hint.startswith("instead: ")


def test_a_misspelt_option_is_refused_with_the_right_one() -> None:
    with pytest.raises(DefinitionError, match="no option `concurency`") as refused:
        ask(concurency=3)

    assert "`concurrency`" in refused.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"device": "gpu"},
        {"auth": "none"},
        {"scale": 3},
        {"cpu": 0},
        {"cpu": True},
        {"memory": "lots"},
        {"env": {"A B": "x"}},
        {"env": {"A": 1}},
        {"env": {"GLOWPLUG_HOME": "x"}},
        {"secrets": "TOKEN"},
        {"secrets": ["A-B"]},
        {"env": {"A": "1"}, "secrets": ["A"]},
        {"volumes": "models"},
        {"volumes": ["No Name"]},
        {"examples": {"x": 1}},
        {"examples": [1]},
        {"tags": ["a"]},
        {"image": "python:3.11"},
        {"app": "metrics"},
        {"app": "My_App"},
        {"name": "a/b"},
        {"description": 3},
    ],
)
def test_every_wrong_value_is_refused_and_comes_with_a_hint(wrong: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError) as refused:
        ask(**wrong)

    assert refused.value.hint


def test_only_who_says_so_may_be_run_again_after_its_replica_died() -> None:
    assert not ask().retry_safe
    assert ask(retry_safe=True).retry_safe
    with pytest.raises(DefinitionError, match="retry_safe='yes'"):
        ask(retry_safe="yes")


def test_volumes_and_secrets_are_names() -> None:
    asked = ask(
        volumes=[Volume("models"), "cache"],
        secrets=["HF_TOKEN"],
        tags={"team": "search"},
        memory="2GiB",
        cpu=0.5,
    )

    assert asked.volumes == ("models", "cache")
    assert asked.secrets == ("HF_TOKEN",)
    assert asked.needs.memory_bytes == 2 * 1024**3
    assert asked.needs.cpu_milli == 500


def test_an_image_is_built_step_by_step() -> None:
    image = (
        Image.python()
        .pip("numpy>=2", "torch==2.13.0")
        .pip("x", metadata={"x": ["numpy"]})
        .env(A="1")
    )

    assert image.spec.requirements == ("numpy>=2", "torch==2.13.0", "x")
    assert image.spec.metadata == (("x", ("numpy",)),)
    assert image.spec.env == (("A", "1"),)
    assert Image.python().spec.requirements == ()


def test_another_python_is_refused_with_both_ways_out() -> None:
    with pytest.raises(DefinitionError, match=r"Python '2\.7'") as refused:
        Image.python("2.7")

    assert "Image.python(" in refused.value.hint


@pytest.mark.parametrize("line", ["-r requirements.txt", "", "a\nb", 3])
def test_what_is_no_requirement_is_refused(line: Any) -> None:
    with pytest.raises(DefinitionError, match="not a requirement"):
        Image.python().pip(line)


@pytest.mark.parametrize("name", ["apt", "conda", "from_dockerfile", "pipp"])
def test_an_image_builder_that_is_not_there_names_those_that_are(name: str) -> None:
    with pytest.raises(DefinitionError, match=name) as refused:
        getattr(Image, name)

    assert "pip" in refused.value.hint
    assert not hasattr(Image.python(), name)


@pytest.mark.parametrize("made", [Scale, Timeouts])
def test_a_misspelt_or_nameless_option_is_refused_with_what_was_meant(made: Any) -> None:
    with pytest.raises(
        DefinitionError, match=r"has no option `maximum`|has no option `rnu`"
    ) as wrong:
        made(**({"maximum": 3} if made is Scale else {"rnu": "5s"}))
    with pytest.raises(DefinitionError, match="takes its options by name"):
        made(3)

    assert wrong.value.hint == ("did you mean `max`?" if made is Scale else "did you mean `run`?")

"""Is what an endpoint asks for given to it, and said where it is not?"""

from collections.abc import Iterator

import pytest

from system.place import Place, kill, place, until

CACHE = '''
import os
from glowplug import Scale, endpoint, on

@endpoint(examples=[{}], volumes=["cache"], scale=Scale(min=1), tags={"team": "search", "beta": ""})
class Kept:
    """Say what was found
    on the volume.

    The first replica writes it.

        and this is code
    """

    @on.load
    def load(self, ctx):
        file = ctx.volumes["cache"] / "weights"
        self.found = file.read_text() if file.exists() else ""
        if not self.found:
            file.write_text(f"written by {os.getpid()}")

    def __call__(self) -> dict[str, str]:
        return {"pid": str(os.getpid()), "found": self.found}
'''

WISHES = """
from glowplug import endpoint

@endpoint(examples=[{}], gpu=1, device="auto")
def wishes() -> str:
    return "fine"
"""

BURNS = """
import time
from glowplug import endpoint

@endpoint(cpu=0.2)
def burns(seconds: float) -> float:
    # the share of one CPU that a busy loop gets
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() < began + seconds:
        pass
    return (time.process_time() - used) / (time.monotonic() - began)
"""

HUGE = """
from glowplug import endpoint

@endpoint(cpu=1000)
def huge() -> str:
    return "cannot be"
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("needs")) as here:
        yield here


def test_a_volume_outlives_the_replica_that_wrote_to_it(router: Place) -> None:
    router.deploy("cache", CACHE)
    first = router.answers("/cache/kept", {})
    assert first["found"] == ""

    kill(int(first["pid"]))
    second = until(
        lambda: next((pid for pid in router.ready("cache").values() if str(pid) != first["pid"]), 0)
    )

    assert router.answers("/cache/kept", {}) == {
        "pid": str(second),
        "found": f"written by {first['pid']}",
    }


def test_tags_and_the_whole_docstring_are_shown_to_tools_and_the_first_paragraph_to_people(
    router: Place,
) -> None:
    router.deploy("cache", CACHE)

    (shown,) = router.api("/apps/cache")["endpoints"]
    assert shown["tags"] == {"team": "search", "beta": ""}
    assert shown["description"].startswith("Say what was found\non the volume.\n\nThe first")

    post = router.send("/-/openapi/cache", method="GET").json["paths"]["/cache/kept"]["post"]
    assert sorted(post["tags"]) == ["beta", "team:search"]
    assert post["summary"] == "Say what was found on the volume."
    assert post["description"] == "The first replica writes it.\n\n    and this is code"

    said = router.glowplug("status", "cache").stdout
    assert "Say what was found on the volume." in said
    assert "The first replica" not in said


def test_an_endpoint_without_the_gpu_it_would_like_says_so_when_deployed_and_after(
    router: Place,
) -> None:
    if router.api("/nodes")["nodes"][0]["inventory"]["gpus"]:
        pytest.skip("this machine has a GPU")

    said = router.glowplug("deploy", str(router.write("wishes", WISHES)))

    assert said.returncode == 0, said.stderr
    sentence = "asked for 1 × GPU; this machine has no GPU: it runs on the CPU"
    first, second = said.stderr.splitlines()[:2]
    assert first.startswith("✓ wishes@v1: ready")
    assert second.strip() == sentence
    assert sentence in " ".join(router.glowplug("status", "wishes").stdout.split())


def test_status_says_which_limits_the_node_enforces(router: Place) -> None:
    have = router.api("/nodes")["nodes"][0]["inventory"]
    held = {"CPU": have["enforces_cpu"], "memory": have["enforces_memory"]}

    said = router.glowplug("status").stdout.splitlines()[1]

    if all(held.values()):
        assert "CPU and memory limits enforced" in said
    else:
        assert "not enforced" in said


def test_a_replica_is_held_to_its_share_of_a_cpu(router: Place) -> None:
    if not router.api("/nodes")["nodes"][0]["inventory"]["enforces_cpu"]:
        pytest.skip("the cpu controller cannot be written here")
    router.deploy("burns", BURNS)

    share = router.answers("/burns/burns", {"seconds": 1.5})

    assert [one["cpu_enforced"] for one in router.replicas("burns")] == [True]
    assert share < 0.4


def test_more_cpus_than_a_node_has_are_not_accepted_in_silence(router: Place) -> None:
    problem = router.refused_deploy("huge", HUGE)

    assert "no node is big enough" in problem["message"]
    assert "1000 CPUs" in problem["message"]
    assert [one["app"] for one in router.api("/apps")["apps"] if one["app"] == "huge"] == []

"""Which environment does a rank find around it?"""

from dataclasses import replace
from pathlib import Path

from glowplug.artifact import Bundle
from glowplug.node import surroundings
from glowplug.node.folders import Folders
from glowplug.node.messages import Want
from glowplug.settings import Home
from glowplug.spec import EndpointSpec, Needs

SPEC = EndpointSpec(app="shop", name="hello", target="app:hello", kind="function")
WANT = Want(
    replica="r1",
    version="shop/hello@1",
    spec=SPEC,
    bundle=Bundle(app="shop", layers=()),
    bundle_digest="",
)


def test_model_hubs_download_into_the_node_s_volume(tmp_path: Path) -> None:
    env = dict(surroundings.variables(WANT, Folders(Home(tmp_path)), (), {}))

    assert env["HF_HOME"] == str(tmp_path / "node/volumes/hub-cache/huggingface")
    assert env["TORCH_HOME"].startswith(str(tmp_path))


def test_a_person_s_own_model_folder_is_left_alone(tmp_path: Path) -> None:
    env = dict(surroundings.variables(WANT, Folders(Home(tmp_path)), (), {"HF_HOME": "/models"}))

    assert "HF_HOME" not in env


def test_the_endpoint_s_env_wins_but_for_the_devices(tmp_path: Path) -> None:
    spec = replace(SPEC, env=(("HF_HOME", "/mine"), ("CUDA_VISIBLE_DEVICES", "0")))

    env = dict(
        surroundings.variables(replace(WANT, spec=spec), Folders(Home(tmp_path)), ("GPU-a",), {})
    )

    assert env["HF_HOME"] == "/mine"
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-a"


def test_threads_follow_the_cpu_limit(tmp_path: Path) -> None:
    spec = replace(SPEC, needs=Needs(cpu_milli=1500))

    env = dict(surroundings.variables(replace(WANT, spec=spec), Folders(Home(tmp_path)), (), {}))

    assert env["OMP_NUM_THREADS"] == "2"


def test_volumes_are_made_and_the_hub_cache_is_always_there(tmp_path: Path) -> None:
    made = surroundings.volumes(Folders(Home(tmp_path)), ("weights",))

    assert [name for name, _ in made] == ["hub-cache", "weights"]
    assert all(Path(path).is_dir() for _, path in made)

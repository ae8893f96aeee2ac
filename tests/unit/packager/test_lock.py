"""Is an image resolved once, completely, and with errors that help?"""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.errors import BuildError
from glowplug.spec import ImageSpec
from glowplug_packager.lock import KEEP_MAX, RUNTIME_REQUIREMENTS, platform_here, resolver_here
from sample_wheels import make_wheel, offline_resolver

MODEST = ImageSpec(requirements=("modest",))


def test_a_lock_pins_what_was_asked_for_and_what_a_rank_needs(tmp_path: Path) -> None:
    lock = offline_resolver(tmp_path).lock(MODEST)

    assert lock.packages == (
        "anyio==4.16.0",
        "modest==2.0",
        "msgspec==0.20.0",
        "pydantic==2.14.0",
        "uvloop==0.22.0",
    )
    assert lock.text.count("--hash=sha256:") == len(lock.packages)
    assert str(tmp_path) not in lock.text  # nothing of this machine in it


def test_the_second_time_nothing_is_resolved(tmp_path: Path) -> None:
    resolver = offline_resolver(tmp_path)
    first = resolver.lock(MODEST)

    second = replace(resolver, uv="/nowhere/uv", interpreter="/nowhere/python").lock(MODEST)

    assert first.fresh
    assert not second.fresh
    assert second.text == first.text


def test_a_kept_lock_is_resolved_anew_only_on_request(tmp_path: Path) -> None:
    resolver = offline_resolver(tmp_path)
    resolver.lock(MODEST)
    make_wheel(tmp_path / "wheels", "modest", "3.0")

    assert "modest==2.0" in resolver.lock(MODEST).packages
    assert "modest==3.0" in resolver.lock(MODEST, refresh=True).packages
    assert "modest==3.0" in resolver.lock(MODEST).packages


def test_an_image_that_says_less_of_a_packages_needs_gets_less(tmp_path: Path) -> None:
    image = ImageSpec(requirements=("greedy",), metadata=(("greedy", ("modest<2",)),))

    packages = offline_resolver(tmp_path).lock(image).packages

    assert {"greedy==1.0", "modest==1.0"} <= set(packages)
    assert not any(one.startswith("enormous") for one in packages)


def test_an_override_wins_over_what_packages_ask_for(tmp_path: Path) -> None:
    resolver = offline_resolver(tmp_path)
    make_wheel(tmp_path / "wheels", "strict", "1.0", requires=["modest>=2"])
    image = ImageSpec(requirements=("strict",), overrides=("modest==1.0",))

    assert "modest==1.0" in resolver.lock(image).packages


def test_what_cannot_be_resolved_is_said_in_uvs_words_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="enormous was not found") as caught:
        offline_resolver(tmp_path).lock(ImageSpec(requirements=("greedy",)))

    assert "metadata=" in caught.value.hint
    assert list((tmp_path / "locks").glob("*")) == []


def test_requirements_that_contradict_each_other_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"modest>=2 and modest<2"):
        offline_resolver(tmp_path).lock(ImageSpec(requirements=("modest>=2", "modest<2")))


def test_an_index_that_does_not_answer_is_not_blamed_on_the_image(tmp_path: Path) -> None:
    resolver = replace(
        offline_resolver(tmp_path),
        arguments=("--default-index=http://127.0.0.1:9/simple",),
        variables={"UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(tmp_path / "cache")},
    )

    with pytest.raises(BuildError) as caught:
        resolver.lock(MODEST)

    assert "pip config list" in caught.value.hint


def test_a_missing_uv_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="uv cannot be run"):
        replace(offline_resolver(tmp_path), uv="/nowhere/uv").lock(MODEST)


def test_another_index_means_another_lock(tmp_path: Path) -> None:
    resolver = offline_resolver(tmp_path)
    resolver.lock(MODEST)
    elsewhere = tmp_path / "elsewhere"
    for name in ("anyio", "msgspec", "pydantic", "uvloop"):
        make_wheel(elsewhere, name, {"anyio": "4.7", "pydantic": "2.11"}.get(name, "0.21"))
    make_wheel(elsewhere, "modest", "1.5")

    other = replace(resolver, arguments=("--no-index", f"--find-links={elsewhere}"))

    assert "modest==1.5" in other.lock(MODEST).packages


def test_old_locks_are_dropped(tmp_path: Path) -> None:
    resolver = offline_resolver(tmp_path)
    resolver.folder.mkdir()
    for number in range(KEEP_MAX + 5):
        (resolver.folder / str(number)).touch()

    resolver.lock(MODEST)

    assert len(list(resolver.folder.iterdir())) == KEEP_MAX


def test_a_rank_gets_the_versions_that_the_project_itself_asks_for() -> None:
    document = tomllib.loads(
        (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    )
    project = document["project"]
    known = {*project["dependencies"], *project["optional-dependencies"]["router"]}

    assert set(RUNTIME_REQUIREMENTS) <= known


def test_the_resolver_of_this_machine_knows_where_uv_and_pips_packages_are(tmp_path: Path) -> None:
    here = resolver_here(tmp_path)

    assert Path(here.uv).name == "uv"
    assert here.platform == platform_here()
    assert here.platform.count("-") == 1

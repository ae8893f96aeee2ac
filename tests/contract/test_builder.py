"""Does every builder make what a plan asks for, and the same each time?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.artifact import Bundle
from glowplug.node.tars import unpack
from glowplug.settings import Home
from glowplug.spec import EndpointDecl, EndpointSpec, ImageSpec, Policy
from glowplug_packager.builders.local import local_builder
from glowplug_packager.digest import bundle_digest, digest_bytes
from glowplug_packager.plan import BuildPlan, plan
from glowplug_packager.ports import Builder
from glowplug_packager.sources import Sources, collect
from sample_wheels import offline_resolver


def local(tmp_path: Path) -> Builder:
    return replace(local_builder(Home(tmp_path / "home")), resolver=offline_resolver(tmp_path))


BUILDERS: list[Callable[[Path], Builder]] = [local]


@pytest.fixture(params=BUILDERS, ids=lambda make: str(make.__name__))
def builder(request: pytest.FixtureRequest, tmp_path: Path) -> Builder:
    made: Builder = request.param(tmp_path)
    return made


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    root = tmp_path / "project"
    root.mkdir()
    (root / "app.py").write_text("x = 1\n")
    return collect(root)


MODEST = ImageSpec(requirements=("modest",), env=(("A", "1"),))


def planned(*images: ImageSpec) -> BuildPlan:
    return plan(
        [
            EndpointDecl(
                spec=EndpointSpec(
                    app="a", name=f"e{number}", target="app:x", kind="function", image=image
                ),
                policy=Policy(),
            )
            for number, image in enumerate(images)
        ],
        python="3.11",
    )


def built(
    builder: Builder, sources: Sources, *images: ImageSpec
) -> tuple[dict[str, Bundle], dict[str, Path]]:
    release, layers = builder.build(planned(*images), builder.pack(sources), lambda _: None)
    return dict(release.bundles), dict(layers)


def test_every_layer_that_a_bundle_names_is_there_with_its_digest(
    builder: Builder, sources: Sources
) -> None:
    bundles, layers = built(builder, sources, ImageSpec(), MODEST)

    named = {layer.digest for bundle in bundles.values() for layer in bundle.layers}
    assert set(layers) == named
    assert all(digest_bytes(path.read_bytes()) == digest for digest, path in layers.items())


def test_every_bundle_goes_by_its_digest_and_every_endpoint_has_one(
    builder: Builder, sources: Sources
) -> None:
    build_plan = planned(ImageSpec(), MODEST)
    release, _ = builder.build(build_plan, builder.pack(sources), lambda _: None)

    assert all(bundle_digest(bundle) == digest for digest, bundle in release.bundles)
    assert [declaration.spec.name for declaration, _ in release.endpoints] == ["e0", "e1"]
    assert {digest for _, digest in release.endpoints} == {digest for digest, _ in release.bundles}


def test_building_again_gives_the_same(builder: Builder, sources: Sources) -> None:
    first, _ = built(builder, sources, ImageSpec(), MODEST)

    assert built(builder, sources, ImageSpec(), MODEST)[0] == first


def test_the_code_layer_is_the_sources(builder: Builder, sources: Sources, tmp_path: Path) -> None:
    bundles, layers = built(builder, sources, ImageSpec())
    (bundle,) = bundles.values()
    code = bundle.layer("code")
    assert code is not None
    (tmp_path / "out").mkdir()

    unpack(layers[code.digest], tmp_path / "out")

    assert (tmp_path / "out/app.py").read_text() == "x = 1\n"


def test_the_runtime_layer_can_be_imported_from(
    builder: Builder, sources: Sources, tmp_path: Path
) -> None:
    bundles, layers = built(builder, sources, ImageSpec())
    (bundle,) = bundles.values()
    runtime = bundle.layer("runtime")
    assert runtime is not None
    (tmp_path / "out").mkdir()

    unpack(layers[runtime.digest], tmp_path / "out")

    assert (tmp_path / "out/glowplug/__init__.py").is_file()
    assert (tmp_path / "out/glowplug/worker").is_dir()


def test_only_an_image_with_requirements_has_a_lock_and_an_environment(
    builder: Builder, sources: Sources
) -> None:
    bundles, layers = built(builder, sources, ImageSpec(), MODEST)

    plain, locked = sorted(bundles.values(), key=lambda one: one.env_digest)
    lock = locked.layer("lock")
    assert plain.layer("lock") is None
    assert plain.env_digest == ""
    assert lock is not None
    assert "modest==2.0" in layers[lock.digest].read_text()
    assert locked.env == (("A", "1"),)


def test_images_that_differ_in_variables_alone_share_an_environment(
    builder: Builder, sources: Sources
) -> None:
    bundles, _ = built(builder, sources, MODEST, replace(MODEST, env=(("A", "2"),)))

    assert len(bundles) == 2
    assert len({bundle.env_digest for bundle in bundles.values()}) == 1

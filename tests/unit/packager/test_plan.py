"""Which bundles do these declarations need?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import BuildError
from glowplug.spec import EndpointDecl, EndpointSpec, ImageSpec, Policy
from glowplug_packager.plan import plan

PLAIN = ImageSpec()
NUMPY = ImageSpec(requirements=("numpy",))


def declared(name: str, image: ImageSpec = PLAIN, app: str = "a") -> EndpointDecl:
    spec = EndpointSpec(app=app, name=name, target=f"app:{name}", kind="function", image=image)
    return EndpointDecl(spec=spec, policy=Policy())


def test_endpoints_with_one_image_share_a_bundle() -> None:
    build_plan = plan([declared("x"), declared("y"), declared("z", NUMPY)], python="3.11")

    assert [[one.spec.name for one in bundle.endpoints] for bundle in build_plan.bundles] == [
        ["x", "y"],
        ["z"],
    ]
    assert [bundle.needs_lock for bundle in build_plan.bundles] == [False, True]
    assert (build_plan.app, build_plan.source_path) == (
        "a",
        "",
    )


@given(st.permutations([declared("x"), declared("y", NUMPY), declared("z"), declared("w", NUMPY)]))
def test_the_order_of_declarations_makes_no_difference(given: list[EndpointDecl]) -> None:
    assert plan(given, python="3.11") == plan(
        sorted(given, key=lambda one: one.spec.name), python="3.11"
    )


def test_a_file_without_endpoints_is_refused() -> None:
    with pytest.raises(BuildError, match="declares no endpoint"):
        plan([], python="3.11")


def test_two_apps_in_one_file_are_refused_by_name() -> None:
    with pytest.raises(BuildError, match="2 apps: a, b"):
        plan([declared("x"), declared("y", app="b")], python="3.11")


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(BuildError, match="two endpoints called 'x'"):
        plan([declared("x"), declared("x", NUMPY)], python="3.11")


def test_only_the_python_that_deploys_is_taken() -> None:
    same = declared("x", replace(NUMPY, python="3.11"))
    other = declared("x", replace(NUMPY, python="3.12"))

    assert plan([same], python="3.11").python == "3.11"
    with pytest.raises(BuildError, match=r"asks for Python 3\.12, this is Python 3\.11") as caught:
        plan([other], python="3.11")
    assert 'Image.python("3.11")' in caught.value.hint

"""What has to be built for these declarations? One bundle for every image they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass

from glowplug.errors import BuildError
from glowplug.spec import EndpointDecl, ImageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """Endpoints that share an image, and so a bundle, an environment and a zygote."""

    image: ImageSpec
    endpoints: tuple[EndpointDecl, ...]

    @property
    def needs_lock(self) -> bool:
        """Say whether anything has to be installed; if not, the node's own interpreter runs it."""
        return bool(self.image.requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """All bundles of one app, made from one source tree."""

    app: str
    python: str  # "3.11", of every bundle
    bundles: tuple[BundlePlan, ...]
    source_path: str = ""  # set only by `dev`


def plan(declarations: Sequence[EndpointDecl], *, python: str, source_path: str = "") -> BuildPlan:
    """Group endpoints by what they need installed; the order of declarations makes no difference.

    Raises:
        BuildError: There is nothing to deploy, more than one app, a name twice, or a Python that is not this one.
    """
    app = _app(declarations)
    by_image: dict[ImageSpec, list[EndpointDecl]] = {}
    for one in sorted(declarations, key=lambda decl: decl.spec.name):
        _check_python(one, python)
        by_image.setdefault(one.spec.image, []).append(one)
    bundles = tuple(
        BundlePlan(image=image, endpoints=tuple(same)) for image, same in by_image.items()
    )
    return BuildPlan(
        app=app,
        python=python,
        bundles=bundles,
        source_path=source_path,
    )


def _app(declarations: Sequence[EndpointDecl]) -> str:
    apps = sorted({one.spec.app for one in declarations})
    if not apps:
        raise BuildError(
            "the file declares no endpoint", hint="put @endpoint above a function or a class"
        )
    if len(apps) > 1:
        raise BuildError(
            f"the file declares endpoints of {len(apps)} apps: {', '.join(apps)}",
            hint="a deploy changes one app: give all the same app=…, or split the file",
        )
    names = [one.spec.name for one in declarations]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BuildError(
            f"{apps[0]} has two endpoints called {twice[0]!r}",
            hint='give one another name: @endpoint(name="…")',
        )
    return apps[0]


def _check_python(one: EndpointDecl, python: str) -> None:
    asked = one.spec.image.python
    if asked and asked != python:
        raise BuildError(
            f"{one.spec.app}/{one.spec.name} asks for Python {asked}, this is Python {python}",
            hint=f'write Image.python("{python}"), or deploy from an environment with Python {asked}',
        )

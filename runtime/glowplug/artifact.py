"""What did a build produce? The packager writes it, the router stores it, the node runs it."""

from dataclasses import dataclass
from typing import Literal

from glowplug.spec import EndpointDecl

MANIFEST_SCHEMA = 1
LayerKind = Literal["code", "runtime", "lock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One content-addressed part of a bundle: a reproducible tar (code, runtime) or the lock file's text."""

    kind: LayerKind
    digest: str  # "sha256:<hex>" of the bytes as stored
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All a node needs to run one source tree's endpoints. Identity = digest of the manifest's canonical JSON.

    The environment is not shipped: `env_digest` names (lock, python, platform), and a node builds it once from the
    lock and keeps it (`env_digest` empty = run in the node's own interpreter).
    """

    app: str
    layers: tuple[Layer, ...]
    env_digest: str = ""
    python: str = ""  # "3.11"
    env: tuple[tuple[str, str], ...] = ()
    source_path: str = (
        ""  # set only by `dev`, on one machine: run from here instead of the code layer
    )
    schema: int = MANIFEST_SCHEMA

    def layer(self, kind: LayerKind) -> Layer | None:
        """Return the layer of that kind, if the bundle has one."""
        return next((one for one in self.layers if one.kind == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A deploy request's content: every endpoint of an app with the bundle each runs in."""

    app: str
    bundles: tuple[tuple[str, Bundle], ...]  # bundle digest -> manifest
    endpoints: tuple[tuple[EndpointDecl, str], ...]  # declaration, digest of its bundle
    message: str = ""
    git_sha: str = ""

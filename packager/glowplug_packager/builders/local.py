"""How is a bundle made on this machine, without a container or a daemon? Tars and locks, cached by digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import glowplug
from glowplug.artifact import Bundle, Layer, Release
from glowplug.settings import Home
from glowplug.spec import EndpointDecl
from glowplug_packager.digest import bundle_digest, environment_digest
from glowplug_packager.layers import LayerCache, package_files
from glowplug_packager.lock import Resolver, platform_here, resolver_here
from glowplug_packager.plan import BuildPlan, BundlePlan
from glowplug_packager.ports import OnProgress
from glowplug_packager.sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBuilder:
    """Builds with what is installed here; `refresh` resolves packages anew."""

    cache: LayerCache
    locks: Path
    resolver: Resolver | None = (
        None  # found when the first lock is needed: most apps of functions need none
    )
    refresh: bool = False
    package: Path = Path(glowplug.__file__).parent  # goes into the runtime layer

    def pack(self, sources: Sources) -> Layer:
        """Make the code layer."""
        return self.cache.add_tar("code", sources.files)

    def build(
        self, build_plan: BuildPlan, code: Layer, progress: OnProgress
    ) -> tuple[Release, Mapping[str, Path]]:
        """Make the runtime layer and one bundle for each image."""
        runtime = self.cache.add_tar("runtime", package_files(self.package))
        bundles: dict[str, Bundle] = {}
        endpoints: list[tuple[EndpointDecl, str]] = []
        for one in build_plan.bundles:
            bundle = self._bundle(build_plan, one, (code, runtime), progress)
            digest = bundle_digest(bundle)
            bundles[digest] = bundle
            endpoints += [(declaration, digest) for declaration in one.endpoints]
        layers = {
            layer.digest: self.cache.path(layer.digest)
            for bundle in bundles.values()
            for layer in bundle.layers
        }
        self.cache.prune(layers)
        release = Release(
            app=build_plan.app, bundles=tuple(sorted(bundles.items())), endpoints=tuple(endpoints)
        )
        return release, layers

    def _bundle(
        self,
        build_plan: BuildPlan,
        one: BundlePlan,
        layers: tuple[Layer, ...],
        progress: OnProgress,
    ) -> Bundle:
        environment = ""
        if one.needs_lock:
            lock, environment = self._lock(build_plan, one, progress)
            layers = (*layers, lock)
        return Bundle(
            app=build_plan.app,
            layers=layers,
            env_digest=environment,
            python=build_plan.python,
            env=one.image.env,
            source_path=build_plan.source_path,
        )

    def _lock(
        self, build_plan: BuildPlan, one: BundlePlan, progress: OnProgress
    ) -> tuple[Layer, str]:
        names = ", ".join(endpoint.spec.name for endpoint in one.endpoints)
        resolver = self.resolver or resolver_here(self.locks)
        lock = resolver.lock(one.image, refresh=self.refresh)
        if lock.fresh:
            progress(f"resolved {len(lock.packages)} packages for {names}")
        layer = self.cache.add_bytes("lock", lock.text.encode())
        return layer, environment_digest(layer.digest, build_plan.python, platform_here())


def local_builder(home: Home, *, refresh: bool = False) -> LocalBuilder:
    """Return the builder that keeps its work in an installation's folder."""
    return LocalBuilder(
        cache=LayerCache(home.root / "layers"), locks=home.root / "locks", refresh=refresh
    )

"""What is deployed? The store's tables as the controller holds them in memory: written to the store first, always."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from glowplug.artifact import Bundle
from glowplug.spec import Policy
from glowplug_router.ports import Store
from glowplug_router.records.stored import Deployment, Key, Version
from glowplug_router.records.wishes import Wish

_PEPPER_BYTES = 32


class Catalog:
    """Versions, bundles, live deployments, policies and keys; every change is durable before it shows here.

    Only this process writes them (the epoch sees to that), so the copy is never behind the store.
    """

    def __init__(self, store: Store, epoch: int) -> None:
        self.epoch = epoch
        self.versions: dict[str, Version] = {}
        self.bundles: dict[str, Bundle] = {}
        self.live: dict[str, Deployment] = {}
        self.policies: dict[tuple[str, str], Policy] = {}
        self.wishes: dict[str, Wish] = {}
        self.keys: tuple[Key, ...] = ()
        self.pepper = ""
        self.token_secret = ""
        self._store = store

    async def load(self) -> None:
        """Read everything."""
        store = self._store
        self.versions = {version.key: version for version in await store.versions()}
        for digest in {version.bundle_digest for version in self.versions.values()}:
            bundle = await store.bundle(digest)
            assert bundle is not None, digest
            self.bundles[digest] = bundle
        self.live = {deployment.app: deployment for deployment in await store.live()}
        self.policies = {
            (app, endpoint): policy for app, endpoint, policy in await store.policies()
        }
        self.wishes = {wish.id: wish for wish in await store.wishes()}
        self.keys = await store.keys()
        self.pepper = await store.setting("pepper", secrets.token_hex(_PEPPER_BYTES))
        self.token_secret = await store.setting("token_secret", secrets.token_hex(_PEPPER_BYTES))

    # -- asking ----------------------------------------------------------------------------------

    def bundle_of(self, version: Version) -> Bundle:
        """Return the bundle a version runs in."""
        return self.bundles[version.bundle_digest]

    def layers(self) -> frozenset[str]:
        """Return the digests of all layers that some version needs, live or not: a rollback may want them."""
        return frozenset(layer.digest for one in self.bundles.values() for layer in one.layers)

    def policy(self, version: Version) -> Policy:
        """Return the policy of a version's endpoint."""
        return self.policies.get((version.app, version.endpoint), Policy())

    def routed(self, app: str) -> dict[str, Version]:
        """Return the versions that have traffic in an app's live deployment, by key; none when it is stopped."""
        deployment = self.live.get(app)
        if deployment is None or deployment.stopped:
            return {}
        keys = [
            f"{app}/{route.endpoint}@{share.version}"
            for route in deployment.routes
            for share in route.shares
        ]
        return {key: self.versions[key] for key in keys}

    def permille(self) -> dict[str, int]:
        """Return the share of traffic of every version that has one."""
        return {
            f"{deployment.app}/{route.endpoint}@{share.version}": share.permille
            for deployment in self.live.values()
            if not deployment.stopped
            for route in deployment.routes
            for share in route.shares
        }

    async def history(self, app: str) -> tuple[Deployment, ...]:
        """Return an app's deployments, oldest first."""
        return await self._store.deployments(app)

    # -- changing --------------------------------------------------------------------------------

    async def add_version(self, version: Version, bundle: Bundle) -> Version:
        """Keep a version, or return the one that has the same digest."""
        kept = await self._store.add_version(version, bundle, self.epoch)
        self.versions[kept.key] = kept
        if kept.bundle_digest not in self.bundles:
            # A version that was known keeps the bundle it was first stored with: the same code in the same environment.
            stored = await self._store.bundle(kept.bundle_digest)
            self.bundles[kept.bundle_digest] = stored if stored is not None else bundle
        return kept

    async def commit(
        self, deployment: Deployment, policies: Sequence[tuple[str, Policy]]
    ) -> Deployment:
        """Make a deployment live."""
        done = await self._store.commit(deployment, policies, self.epoch)
        self.live[done.app] = done
        for endpoint, policy in policies:
            self.policies[done.app, endpoint] = policy
        return done

    async def set_policy(self, app: str, endpoint: str, policy: Policy) -> None:
        """Change a policy."""
        await self._store.set_policy(app, endpoint, policy, self.epoch)
        self.policies[app, endpoint] = policy

    async def add_wish(self, wish: Wish) -> None:
        """Keep what is declared for a while."""
        await self._store.add_wish(wish, self.epoch)
        self.wishes[wish.id] = wish

    async def remove_wishes(self, ids: Sequence[str]) -> None:
        """Forget some of it."""
        await self._store.remove_wishes(ids, self.epoch)
        for id in ids:
            self.wishes.pop(id, None)

    async def add_key(self, key: Key) -> None:
        """Keep a key."""
        await self._store.add_key(key)
        self.keys = (*self.keys, key)

    async def revoke_key(self, id: str) -> bool:
        """Revoke a key; False when there is none of that id."""
        found = await self._store.revoke_key(id)
        self.keys = tuple(replace(key, revoked=True) if key.id == id else key for key in self.keys)
        return found

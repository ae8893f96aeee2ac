"""What does a Store do, with nothing but dictionaries? For tests and the simulator: nothing survives."""

from collections.abc import Sequence
from dataclasses import replace

from glowplug.artifact import Bundle
from glowplug.errors import CallError, call_error
from glowplug.spec import Policy
from glowplug_router.ports import EXPLAIN_KEEP, INTENTS_KEEP
from glowplug_router.records.stored import Deployment, Explain, Intent, Key, Version
from glowplug_router.records.wishes import Wish


class MemoryStore:
    """The Store port in this process's memory."""

    def __init__(self) -> None:
        self._epoch = 0
        self._settings: dict[str, str] = {}
        self._versions: list[Version] = []
        self._bundles: dict[str, Bundle] = {}
        self._deployments: list[Deployment] = []
        self._policies: dict[tuple[str, str], Policy] = {}
        self._wishes: dict[str, Wish] = {}
        self._keys: dict[str, Key] = {}
        self._intents: dict[str, Intent] = {}
        self._decisions: list[tuple[int, Explain]] = []

    async def take_epoch(self, holder: str) -> int:
        self._epoch += 1
        return self._epoch

    async def setting(self, name: str, default: str) -> str:
        return self._settings.setdefault(name, default)

    async def add_version(self, version: Version, bundle: Bundle, epoch: int) -> Version:
        self._fence(epoch)
        siblings = [
            v for v in self._versions if (v.app, v.endpoint) == (version.app, version.endpoint)
        ]
        for known in siblings:
            if known.digest == version.digest:
                return known
        numbered = replace(version, number=1 + max((v.number for v in siblings), default=0))
        self._versions.append(numbered)
        self._bundles.setdefault(version.bundle_digest, bundle)
        return numbered

    async def versions(self, app: str = "", endpoint: str = "") -> tuple[Version, ...]:
        found = [v for v in self._versions if app in {"", v.app} and endpoint in {"", v.endpoint}]
        return tuple(sorted(found, key=lambda v: (v.created_wall_ns, v.app, v.endpoint, v.number)))

    async def bundle(self, digest: str) -> Bundle | None:
        return self._bundles.get(digest)

    async def commit(
        self, deployment: Deployment, policies: Sequence[tuple[str, Policy]], epoch: int
    ) -> Deployment:
        self._fence(epoch)
        live = max((d.generation for d in self._deployments if d.app == deployment.app), default=0)
        if deployment.generation != live + 1:
            wanted = f"{deployment.app}: generation {deployment.generation} was to follow {deployment.generation - 1}"
            raise call_error("conflict", f"{wanted}, but {live} is live", executed="no")
        self._deployments.append(deployment)
        for endpoint, policy in policies:
            self._policies[deployment.app, endpoint] = policy
        return deployment

    async def deployments(self, app: str = "") -> tuple[Deployment, ...]:
        found = [d for d in self._deployments if app in {"", d.app}]
        return tuple(sorted(found, key=lambda d: (d.created_wall_ns, d.app, d.generation)))

    async def live(self) -> tuple[Deployment, ...]:
        newest: dict[str, Deployment] = {}
        for one in self._deployments:
            if one.app not in newest or newest[one.app].generation < one.generation:
                newest[one.app] = one
        return tuple(newest[app] for app in sorted(newest))

    async def policies(self) -> tuple[tuple[str, str, Policy], ...]:
        return tuple(
            (app, endpoint, policy) for (app, endpoint), policy in sorted(self._policies.items())
        )

    async def set_policy(self, app: str, endpoint: str, policy: Policy, epoch: int) -> None:
        self._fence(epoch)
        self._policies[app, endpoint] = policy

    async def add_wish(self, wish: Wish, epoch: int) -> None:
        self._fence(epoch)
        self._wishes[wish.id] = wish

    async def wishes(self) -> tuple[Wish, ...]:
        return tuple(sorted(self._wishes.values(), key=lambda one: (one.created_wall_ns, one.id)))

    async def remove_wishes(self, ids: Sequence[str], epoch: int) -> None:
        self._fence(epoch)
        for id in ids:
            self._wishes.pop(id, None)

    async def add_key(self, key: Key) -> None:
        assert key.id not in self._keys, key.id
        self._keys[key.id] = key

    async def keys(self) -> tuple[Key, ...]:
        return tuple(sorted(self._keys.values(), key=lambda key: (key.created_wall_ns, key.id)))

    async def revoke_key(self, id: str) -> bool:
        if id not in self._keys:
            return False
        self._keys[id] = replace(self._keys[id], revoked=True)
        return True

    async def write_intents(self, intents: Sequence[Intent], epoch: int) -> None:
        self._fence(epoch)
        for intent in intents:
            self._intents.setdefault(intent.id, intent)

    async def close_intent(self, id: str, state: str, detail: str, epoch: int) -> None:
        self._fence(epoch)
        intent = self._intents.get(id)
        if intent is not None and intent.state == "open":
            assert state in {"done", "abandoned"}, state
            self._intents[id] = replace(
                intent, state="done" if state == "done" else "abandoned", detail=detail
            )
        closed = [one.id for one in self._intents.values() if one.state != "open"]
        for old in closed[: max(0, len(closed) - INTENTS_KEEP)]:
            del self._intents[old]

    async def open_intents(self) -> tuple[Intent, ...]:
        return tuple(intent for intent in self._intents.values() if intent.state == "open")

    async def explain(self, rows: Sequence[Explain], wall_ns: int, epoch: int) -> None:
        self._fence(epoch)
        self._decisions += [(wall_ns, row) for row in rows]
        for subject in {row.subject for row in rows}:
            mine = [one for one in self._decisions if one[1].subject == subject]
            for old in mine[: max(0, len(mine) - EXPLAIN_KEEP)]:
                self._decisions.remove(old)

    async def decisions(
        self, subject: str = "", limit: int = 50
    ) -> tuple[tuple[int, Explain], ...]:
        found = [one for one in reversed(self._decisions) if _is_about(one[1].subject, subject)]
        return tuple(found[:limit])

    async def close(self) -> None:
        pass

    def _fence(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise _stale(epoch, self._epoch)


def _stale(epoch: int, current: int) -> CallError:
    message = f"a controller with epoch {current} has replaced this one (epoch {epoch})"
    return call_error("conflict", message, executed="no")


def _is_about(subject: str, asked: str) -> bool:
    return asked in {"", subject} or subject.startswith((f"{asked}/", f"{asked}@"))

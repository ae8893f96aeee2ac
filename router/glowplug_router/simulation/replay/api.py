"""Does a provider take orders just now? Its API may be throttled: not a refusal of the order, but of being asked."""

from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.replay.audit import Audit
from glowplug_router.simulation.world import World


class Api:
    """The API of a provider, and what its driver knows of it: when it may be asked again."""

    def __init__(self, world: World, audit: Audit, post: Post | None) -> None:
        self._world, self._audit, self._post = world, audit, post
        self.until_ns = 0  # it said "not before"

    @property
    def is_open(self) -> bool:
        """Say whether the provider may be asked."""
        return self._world.now_ns >= self.until_ns

    def takes(self, order: str) -> bool:
        """Ask; False where it throttles. Asking while it does is what the audit would find."""
        if not self.is_open:
            self._audit.asked_too_soon(order, self.until_ns)
            return False
        wait_ns = self._post.retry_after_ns() if self._post else 0
        self.until_ns = self._world.now_ns + wait_ns
        return wait_ns == 0

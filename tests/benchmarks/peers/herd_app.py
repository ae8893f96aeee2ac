"""Who stands beside a herd? Twenty warm endpoints, and a cold one that takes a second to load."""

import time

from glowplug import Scale, endpoint, on

WARM = 20


def warm(id: str) -> str:
    return id


for _number in range(WARM):
    globals()[f"warm_{_number}"] = endpoint(
        app="herd", name=f"warm-{_number}", scale=Scale(min=1, max=1), examples=[{"id": "a"}]
    )(warm)


@endpoint(app="herd", scale=Scale(min=0, max=1, zero_after="1s", hold=1000), examples=[{"id": "a"}])
class Cold:
    @on.load
    def load(self) -> None:
        time.sleep(1.0)

    def __call__(self, id: str) -> str:
        return id

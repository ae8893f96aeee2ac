"""What does a row of the policy benchmark come to?

A row is a module of this package: `NAME`, and `run(seed) -> list[Result]`, the same for the same seed, in under a
minute. One that takes many seeds (`chaos`) has `run(seed, seeds)`.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure: ours, what others came to on the same input, and what nobody could beat."""

    figure: str  # its name in figures.toml, or another one where there is no target
    value: float
    unit: str
    detail: str = ""  # modelled constants and which input this was: "Azure code, cold start 60 s"
    bound: float | None = None
    peers: dict[str, float] = field(default_factory=dict)
    exercised: int | None = None  # for figures bounded by zero: how often the thing was tried
    control: float | None = None  # and what the same check finds with a fault planted
    at_most: float | None = (
        None  # target of router.md §7 for a figure that figures.toml does not have
    )
    at_least: float | None = None

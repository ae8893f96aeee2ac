"""How long will a batch hold the device? S(n, units) = a + b·n + c·units, learned from the batches that ran.

Least squares in which each batch weighs a little less with every later one, kept as sums (the information form of the
recursive rule: it cannot wind up when all batches have one size, as the covariance form does). A coefficient that
comes out negative is dropped and the rest solved again: more work never takes less time. What is promised is the
90th percentile of what was seen, not the mean: a batch that ends a little late would be late for all of its calls.

`units` are what the code's own `weight` says a batch costs: its calls times their largest, or their sum when packed;
0 where it says nothing.
"""

MEMORY = 0.98  # what a batch still weighs after the next one: about the last 50 count, as many as CORK fits
RIDGE = 1e-4  # pulls b and c towards 0 while sizes have been alike: one size seen says nothing about their slopes
OUTLIER = 4.0  # times the expectation; a pause of the machine must not teach that batches are slow
SETTLED = 8  # batches after which outliers are cut: before, a first guess may well be wrong by more
MARGIN_QUANTILE = 0.9
MARGIN_STEP = 0.02  # how far one batch moves the margin; at this it settles within about 50 batches
MARGIN_MAX = 3.0
PIVOT_MIN = 1e-9  # of scaled sums: below it two columns say the same

SOLVE_EVERY = (
    8  # batches, once settled: a solution costs 20 µs, and one batch more moves it by a fiftieth
)

_Row = list[float]


class Costs:
    """What the batches so far say about the next."""

    __slots__ = ("_margin", "_seen", "_solution", "_sums", "_unit")

    def __init__(self) -> None:
        # Of 1, n, u, n², nu, u², t, nt, ut over all batches, where u is units and t the time.
        self._sums = (0.0,) * 9
        self._solution: tuple[float, float, float] | None = None
        self._unit = (
            1.0  # units of the largest batch: scales their column to the size of the others
        )
        self._seen = 0
        self._margin = 1.0

    @property
    def is_known(self) -> bool:
        """Say whether anything has been seen."""
        return self._seen > 0

    def expected_ns(self, size: int, units: int = 0) -> int:
        """Return how long a batch of this size takes, nine times of ten; 0 while nothing has been seen."""
        return int(self._mean_ns(size, units) * self._margin)

    @property
    def batch_units(self) -> float:
        """Return how many units take as long as what every batch costs, however small; 0 = not known."""
        if not self._seen:
            return 0.0
        base, _, per_unit = self._coefficients()
        return base * self._unit / per_unit if per_unit else 0.0

    def saw(self, size: int, units: int, took_ns: int) -> None:
        """Learn from a batch that ran without an error."""
        if self._seen:
            self._judge(size, units, took_ns)
            if self._seen >= SETTLED:
                took_ns = min(took_ns, int(OUTLIER * self._mean_ns(size, units)) or took_ns)
        self._scale(units)
        ones, n, u, nn, nu, uu, t, nt, ut = self._sums
        size_, units_ = float(size), units / self._unit
        self._sums = (
            ones * MEMORY + 1.0,
            n * MEMORY + size_,
            u * MEMORY + units_,
            nn * MEMORY + size_ * size_,
            nu * MEMORY + size_ * units_,
            uu * MEMORY + units_ * units_,
            t * MEMORY + took_ns,
            nt * MEMORY + size_ * took_ns,
            ut * MEMORY + units_ * took_ns,
        )
        self._seen += 1
        if self._seen <= SETTLED or self._seen % SOLVE_EVERY == 0:
            self._solution = None

    def _coefficients(self) -> tuple[float, float, float]:
        if self._solution is None:
            self._solution = self._solved()
        return self._solution

    def _mean_ns(self, size: int, units: int) -> float:
        base, per_call, per_unit = self._coefficients()
        return base + per_call * size + per_unit * (units / self._unit)

    def _judge(self, size: int, units: int, took_ns: int) -> None:
        """Move the margin: up by nine tenths of a step for a batch over it, down by one tenth for each below."""
        over = took_ns > self._mean_ns(size, units) * self._margin
        step = MARGIN_QUANTILE if over else MARGIN_QUANTILE - 1.0
        self._margin = min(max(self._margin + step * MARGIN_STEP, 1.0), MARGIN_MAX)

    def _scale(self, units: int) -> None:
        """Keep units at most 1 in the sums: with millions of them beside a constant 1 nothing could be told apart."""
        if units <= self._unit:
            return
        ratio = self._unit / units
        ones, n, u, nn, nu, uu, t, nt, ut = self._sums
        self._sums = (ones, n, u * ratio, nn, nu * ratio, uu * ratio * ratio, t, nt, ut * ratio)
        self._unit = float(units)
        self._solution = None

    def _solved(self) -> tuple[float, float, float]:
        """Solve for the coefficients that are not negative."""
        ones, n, u, nn, nu, uu, *targets = self._sums
        sums = [[ones, n, u], [n, nn, nu], [u, nu, uu]]
        columns = [0, 1, 2]
        while True:
            found = _least_squares(sums, targets, columns)
            worst = min(columns, key=lambda one: found[one])
            if found[worst] >= 0.0 or len(columns) == 1:
                return max(found[0], 0.0), max(found[1], 0.0), max(found[2], 0.0)
            columns.remove(worst)


def _least_squares(sums: list[_Row], targets: _Row, columns: list[int]) -> _Row:
    """Solve the normal equations of these columns by elimination; the others are 0."""
    ridge = [0.0, RIDGE * sums[1][1], RIDGE * sums[2][2]]
    rows = [
        [sums[one][other] + (ridge[one] if one == other else 0.0) for other in columns]
        + [targets[one]]
        for one in columns
    ]
    for at, pivot in enumerate(rows):
        # The matrix is positive definite but for columns of zeros: no rows need to be exchanged.
        if pivot[at] <= PIVOT_MIN:
            continue
        for row in rows:
            if row is not pivot and row[at]:
                factor = row[at] / pivot[at]
                row[at:] = [
                    one - factor * other for one, other in zip(row[at:], pivot[at:], strict=True)
                ]
    found = [0.0, 0.0, 0.0]
    for at, column in enumerate(columns):
        if rows[at][at] > PIVOT_MIN:
            found[column] = rows[at][-1] / rows[at][at]
    return found

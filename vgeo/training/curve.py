"""The loss curve in one line of text."""

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24


class Curve:
    """Keeps the losses seen so far, evenly thinned, and draws them."""

    def __init__(self) -> None:
        self._sums: list[float] = []  # of `_each` readings, the last one of `_open`
        self._each, self._open = 1, 0
        self.last: float | None = None

    def add(self, loss: float) -> None:
        """Append a reading; when the line is full, neighbours are merged and each column stands for twice as many."""
        self.last = loss
        if not self._open or self._open == self._each:
            if len(self._sums) == _WIDTH:
                self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
                self._each *= 2
            self._sums.append(0.0)
            self._open = 0
        self._sums[-1] += loss
        self._open += 1

    def draw(self) -> str:
        """The curve, lowest to highest loss over the height of a character.

        >>> curve = Curve()
        >>> for loss in (8.0, 4.0, 2.0, 1.0):
        ...     curve.add(loss)
        >>> curve.draw()
        '█▄▂▁'
        """
        counts = [self._each] * (len(self._sums) - 1) + [self._open]
        means = [total / count for total, count in zip(self._sums, counts, strict=False)]
        if not means:
            return ""
        low, high = min(means), max(means)
        span = (high - low) or 1.0
        return "".join(_BARS[round((mean - low) / span * (len(_BARS) - 1))] for mean in means)

    def note(self) -> str:
        """The latest loss and the curve, for a progress bar."""
        return "" if self.last is None else f"loss {self.last:.4g} {self.draw()}"

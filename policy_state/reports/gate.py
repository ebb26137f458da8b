"""What the gate of a domain saves and changes, by the texts that did not meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_state.algorithms.gate import AUDITED_LEAST, misled, threshold
from policy_state.counting import GATE_GRID
from policy_state.reports.shares import Share
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.store.values import DomainSnapshot, PolicyMeta


@dataclass(frozen=True, slots=True)
class GateReport:
    """The gate of one domain, by the promise in force."""

    promise: float  # share of texts that are to keep the label of their domain's exit
    exit: int  # that it lies before
    threshold: int  # the score, in thousandths, at which texts stop; 0: closed
    met: int  # texts that met it so far, at whatever threshold
    layers_saved: Share | None  # by those, of the layers up to the exit
    changed: Share | None  # audited texts that would lose their label: at the threshold in force,
    # or at the highest one if the gate is closed

    @property
    def audited(self) -> int:
        """How many texts stopped at the exit without meeting it."""
        return self.changed.texts if self.changed else 0

    @property
    def broken(self) -> bool:
        """Whether it was open, and has closed because it would not keep its promise."""
        return not self.threshold and self.met > 0 and self.audited >= AUDITED_LEAST

    @property
    def warning(self) -> str:
        """What an operator should know of a broken one."""
        if not self.broken or self.changed is None:
            return ""
        return (
            f"its gate does not keep the promise of {self.promise:.4g} and has closed: even texts "
            f"with a score of {GATE_GRID[-1] / 1000} or more would lose the label of exit "
            f"{self.exit} too often ({_of_audited(self.changed)})"
        )

    def in_words(self) -> list[str]:
        """Return what it does, in lines; a broken one has its warning instead."""
        if not self.exit or self.broken:
            return []
        if self.audited < AUDITED_LEAST or self.changed is None:
            said = (
                f"Its gate is closed until {AUDITED_LEAST} texts have stopped at exit {self.exit} "
                f"without it. So far {self.audited} have."
            )
            return [said]
        lost = _of_audited(self.changed)
        allowed = f"and the promise allows {1 - self.promise:.4g}"
        if not self.threshold:
            said = (
                "Its gate is closed, because no score is known to be high enough: at "
                f"{GATE_GRID[-1] / 1000} {lost} would lose the label of exit {self.exit}, "
                f"{allowed}."
            )
            return [said]
        said = (
            f"Its gate is open: texts stop before exit {self.exit} at a score of "
            f"{self.threshold / 1000} or more. {lost} would lose the label of that exit, {allowed}."
        )
        lines = [said]
        if (saved := self.layers_saved) is not None:
            lines.append(
                f"The gate has saved {saved.share:.1%} of the layers up to there, for "
                f"{counted(saved.texts, 'text')} that met it (95 % interval: {saved.low:.1%} to "
                f"{saved.high:.1%})."
            )
        return lines


def gate_report(
    snapshot: DomainSnapshot, meta: PolicyMeta, exit_: int, promise: float
) -> GateReport | None:
    """Return what is known of the gate of a domain; None if it has none.

    Args:
        snapshot: Of the domain.
        meta: Of its policy.
        exit_: That its texts get.
        promise: The share of texts that are to keep the label of this exit; 0: no gate.
    """
    stats, layers = snapshot.stats, meta.layers
    if not promise or not meta.calibrated or exit_ >= meta.exits:
        return None
    gate = 0 if snapshot.frozen else threshold(stats, exit_, promise)
    at = GATE_GRID.index(gate) if gate else -1
    levels = [1 - layer / layers[exit_] for layer in layers[: exit_ + 1]]
    return GateReport(
        promise=promise,
        exit=exit_,
        threshold=gate,
        met=sum(stats.gated),
        layers_saved=Share.mean(levels, stats.gated[: exit_ + 1]),
        changed=Share.of(misled(stats, exit_)[at], stats.played[exit_]),
    )


def _of_audited(share: Share) -> str:
    return (
        f"{share.share:.2%} of {counted(share.texts, 'text')} that did not meet it "
        f"(95 % interval: {share.low:.2%} to {share.high:.2%})"
    )

"""What a comparison of two models says of the new one, without labels: shares, and a verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from policy_state.algorithms.base import build
from policy_state.reports.accuracy import estimated_accuracy
from policy_state.reports.shares import Share
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.shadowed import ComparedModel, ShadowCounts, ShadowPair

FEW: Final = 100
"""With fewer texts there is no verdict."""

ALIKE: Final = 0.9
"""Two models that surely agree on a smaller share of texts are worth a look at these texts."""


@dataclass(frozen=True, slots=True)
class ShadowExit:
    """One exit of the new model, over all texts that were compared."""

    exit: int
    layer: int
    same: Share  # texts whose label here is the live answer
    differs: Share  # texts whose label here is not that of exit 0
    accuracy: Share | None  # estimated; if the model is calibrated


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """A new model beside the live one, in one domain."""

    domain: str
    live: ComparedModel
    new: ComparedModel
    begun_ms: int
    last_ms: int
    texts: int
    exit: int  # that the new model would choose by the policy's settings and these texts
    layer: int
    full: Share | None  # same label at both last exits, over texts that ran to the live one's
    live_layers: Share  # of the live model's layers that ran, as a share
    live_accuracy: Share | None  # estimated, at the exit that the domain uses
    microseconds: float  # a text took on its way through all layers of the new model
    exits: tuple[ShadowExit, ...]

    @property
    def same(self) -> Share:
        """Texts to which the new model would give the live answer."""
        return self.exits[self.exit].same

    @property
    def accuracy(self) -> Share | None:
        """How many texts the new model would be right about, estimated."""
        return self.exits[self.exit].accuracy

    @property
    def verdict(self) -> str:
        """Return one of few, worse, differs, better, nothing."""
        live, new = self.live_accuracy, self.accuracy
        if self.texts < FEW:
            return "few"
        if live and new and new.high < live.low:
            return "worse"
        if self.same.high < ALIKE:
            return "differs"
        return "better" if live and new and new.low > live.high else "nothing"

    @property
    def verdict_said(self) -> str:
        """Return the verdict as a sentence."""
        if self.verdict == "few":
            return f"Too few texts to judge by: {self.texts} of at least {FEW}."
        return {
            "worse": "It is estimated to be right less often than the live model: this speaks "
            "against it.",
            "differs": f"It answers another label on {1 - self.same.share:.1%} of texts. Look at "
            "some of them, or label them, before it goes live.",
            "better": "Nothing speaks against it yet, and it is estimated to be right more often.",
            "nothing": "Nothing speaks against it yet.",
        }[self.verdict]

    @property
    def lines(self) -> tuple[str, ...]:
        """Return all but the exits in sentences, the verdict last."""
        new, live = self.new, self.live
        answers = (
            f"answers: it would give {_said(self.same)} of texts the live answer at exit "
            f"{self.exit}, and {_said(self.exits[-1].same)} at its last exit"
        )
        lines = [answers]
        if self.full:
            lines.append(
                f"at full depth: on {_said(self.full)} of {counted(self.full.texts, 'text')} that "
                "ran to the last exit of the live model both last exits agree"
            )
        lines.append(
            f"depth: it would stop at exit {self.exit}, layer {self.layer} of {new.layers[-1]} "
            f"({self.layer / new.layers[-1]:.1%}); the live model runs {_said(self.live_layers)} "
            f"of its {live.layers[-1]} layers"
        )
        if self.accuracy and self.live_accuracy:
            lines.append(
                f"estimated accuracy: {_said(self.accuracy)}, live {_said(self.live_accuracy)}"
            )
        else:
            lines.append(f"accuracy cannot be estimated: {self._why_no_accuracy()}")
        lines.append(
            f"time: {self.microseconds / 1000:.2f} ms a text through all its layers, on the "
            "machine of the shadow"
        )
        return (*lines, self.verdict_said)

    def _why_no_accuracy(self) -> str:
        models = {"new": self.new, "live": self.live}
        plain = [name for name, model in models.items() if not model.calibrated]
        if plain:
            return f"the {' and the '.join(plain)} model has no calibration"
        return "no text of the policy has run to the last exit of the live model"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        also = {"same": asdict(self.same), "accuracy": self.accuracy and asdict(self.accuracy)}
        return asdict(self) | also | {"verdict": self.verdict, "verdict_said": self.verdict_said}


def shadow_report(
    domain: str,
    pair: ShadowPair,
    counts: ShadowCounts,
    settings: PolicySettings,
    *,
    live_accuracy: Share | None,
) -> ShadowReport | None:
    """Return what was compared in a domain; None if nothing was.

    Args:
        domain: Its name.
        pair: The models.
        counts: What was compared.
        settings: Of the live policy. Costs that are given for each exit are those of the live
            model, so the new one is weighed by its layers.
        live_accuracy: As the live policy estimates it.
    """
    new, stats, texts = pair.new, counts.stats, counts.texts
    levels = [layer / pair.live.layers[-1] for layer in pair.live.layers]
    live_layers = Share.mean(levels, counts.stopped)
    if live_layers is None:
        return None
    if not isinstance(settings.cost, str):
        settings = replace(settings, cost="layers")
    rules = build(settings, new.layers, credits=new.calibrated)
    right = estimated_accuracy(stats, classes=new.classes) if new.calibrated else None
    exit_ = rules.assess(stats, pool=None).exit
    return ShadowReport(
        domain=domain,
        live=pair.live,
        new=new,
        begun_ms=pair.begun_ms,
        last_ms=pair.last_ms,
        texts=texts,
        exit=exit_,
        layer=new.layers[exit_],
        full=Share.of(counts.full_same, counts.full),
        live_layers=live_layers,
        live_accuracy=live_accuracy,
        microseconds=counts.micros / texts,
        exits=tuple(
            ShadowExit(
                exit=j,
                layer=layer,
                same=_share(counts.same[j], texts),
                differs=_share(stats.disagreed[j], texts),
                accuracy=right[j] if right else None,
            )
            for j, layer in enumerate(new.layers)
        ),
    )


def _share(hits: int, texts: int) -> Share:
    found = Share.of(hits, texts)
    if found is None:
        raise ValueError("a share of no texts")
    return found


def _said(share: Share) -> str:
    return f"{share.share:.1%} ({100 * share.low:.1f} to {share.high:.1%})"

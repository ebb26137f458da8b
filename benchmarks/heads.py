"""Measures whether other heads would serve the first exits better, with the encoder unchanged.

For each of the first layers new heads are trained on labelled texts and measured on others. A head
is given the first token (as the exits of this project are), the mean over the tokens, or both, and
has one or two hidden layers. Without files it halves the sample reviews, which is only a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from benchmarks.models import joined, sample_domains
from benchmarks.report import Report, Table, hand_in, parser
from consumer.settings.sections import PRETRAINED
from model.batches import encode, pad
from model.checkpoint.folder import fitting_tokenizer, load_model
from model.network import MultiExitEncoder
from model.texts.data import LabelledTexts, read_labelled

_LAYERS = 3
_EPOCHS, _BATCH, _RATE = 6, 256, 1e-3
_TOKENS = 128
_KINDS = (("first token",), ("mean",), ("first token", "mean"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What heads are given of each text, by layer and kind, and the texts' classes."""

    given: tuple[dict[str, Tensor], ...]  # (texts, D) each
    labels: Tensor  # (texts,)


def main() -> None:
    """Parse the command line, measure, write."""
    asked = parser("heads", __doc__)
    asked.add_argument("--model", type=Path, default=PRETRAINED, help="default: the shipped model")
    asked.add_argument("--train", type=Path, metavar="FILE", help="labelled texts")
    asked.add_argument("--eval", type=Path, nargs="+", metavar="FILE", help="other labelled texts")
    asked.add_argument("--most", type=int, default=20_000, help="of these, drawn with a fixed seed")
    options = asked.parse_args()
    if bool(options.train) != bool(options.eval):
        asked.error("--train and --eval belong together")
    if options.train:
        train, others = read_labelled(options.train), [read_labelled(p) for p in options.eval]
    else:
        train, others = halves([domain.sample for domain in sample_domains(None)])
    most = 200 if options.quick else options.most
    hand_in(measure(options.model, train.sample(most, seed=1), joined(others)), options)


def halves(parts: Sequence[LabelledTexts]) -> tuple[LabelledTexts, list[LabelledTexts]]:
    """Return every other text of the samples, and the rest."""
    one, other = joined(parts).split(0.5, most=1 << 20, seed=0)
    return one, [other]


def measure(folder: Path, train: LabelledTexts, other: LabelledTexts) -> Report:
    """Return the accuracy of every head on the other texts."""
    network = load_model(folder).eval()
    seen, unseen = (look(network, folder, texts) for texts in (train, other))
    rows = []
    for layer in range(len(seen.given)):
        for kinds in _KINDS:
            x, y = (
                torch.cat([of.given[layer][kind] for kind in kinds], 1) for of in (seen, unseen)
            )
            right = [
                (head(x, seen.labels, hidden=hidden)(y).argmax(-1) == unseen.labels).float().mean()
                for hidden in (1, 2)
            ]
            rows.append((layer + 1, " and ".join(kinds), *(f"{100 * r:.1f}" for r in right)))
    columns = ("layer", "given", "one hidden layer", "two hidden layers")
    report = Report("heads", tables=[Table("Accuracy of new heads, %", columns, tuple(rows))])
    report.notes.append(
        f"Trained on {len(train.texts):,} texts, measured on {len(other.texts):,} others. The "
        "encoder is unchanged, and was trained with heads that are given the first token."
    )
    return report


@torch.inference_mode()
def look(network: MultiExitEncoder, folder: Path, texts: LabelledTexts) -> Seen:
    """Run the first layers on texts and keep what heads may be given."""
    ids = encode(fitting_tokenizer(folder, network.config), texts.texts, _TOKENS)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    layers = network.elasticbert.encoder.layer[:_LAYERS]
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    for start in range(0, len(order), _BATCH):
        rows, mask = pad([ids[i] for i in order[start : start + _BATCH]], 0)  # (B, T)
        x = network.elasticbert.embeddings(rows, torch.arange(rows.shape[1]))  # (B, T, D)
        for layer, parts in zip(layers, kept, strict=True):
            x = layer(x, mask[:, None, None, :].bool())
            parts.append((x[:, 0], mean_of_tokens(x, mask)))
    given = tuple(
        {
            kind: torch.cat(of)
            for kind, of in zip(("first token", "mean"), zip(*parts, strict=True), strict=True)
        }
        for parts in kept
    )
    return Seen(given, torch.tensor([texts.labels[i] for i in order]))


def mean_of_tokens(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of each text's tokens, (B, D), without padding."""
    weights = mask[:, :, None].float()  # (B, T, 1)
    return (x * weights).sum(1) / weights.sum(1)


def head(x: Tensor, labels: Tensor, *, hidden: int) -> nn.Module:
    """Train a head on what it is given, (texts, D)."""
    torch.manual_seed(0)
    size, classes = x.shape[1], int(labels.max()) + 1
    deeper = [nn.Linear(size, size), nn.GELU()] if hidden > 1 else []
    made = nn.Sequential(nn.Linear(size, size), nn.Tanh(), *deeper, nn.Linear(size, classes))
    optimizer = torch.optim.AdamW(made.parameters(), _RATE)
    steps = max(1, _EPOCHS * len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, total_iters=steps)
    with torch.inference_mode(mode=False):
        for _ in range(steps):
            rows = torch.randint(len(x), (_BATCH,))
            optimizer.zero_grad()
            F.cross_entropy(made(x[rows].clone()), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return made.requires_grad_(requires_grad=False)


if __name__ == "__main__":
    main()

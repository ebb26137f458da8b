"""The recipe of the shipped model: a small student of a fine-tuned 12-layer BERT.

    offramp train sst2/train.tsv.zst --from BERT --exits 1,3,5,7,9,12 --out teacher
    python -m demo.train_model --data DATA --teacher teacher --out reviews-small

DATA holds sst2/train.tsv.zst (phrases with labels), unlabelled/imdb_unsup.txt.zst (films) and
unlabelled/amazon_fdu_unlabel.tsv.zst (products). The teacher labels sentences and longer pieces of
the unlabelled reviews; the student, started from random weights, learns from both.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.batches import encode, pad
from model.checkpoint.folder import load_model, load_tokenizer, save_model
from model.checkpoint.tokenizer import train_tokenizer
from model.config import ModelConfig
from model.network import MultiExitEncoder
from model.texts.data import read_labelled, read_texts
from model.training.settings import TrainSettings, optimizer_for

POSITIONS = 128
SENTENCE_WORDS = (3, 40)
PIECE_WORDS = (45, 100)
SHUFFLED_BATCHES = 50  # sorted by length together
_BREAK = re.compile(r"(?<=[.!?])\s+|<br\s*/?>")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much unlabelled text is used."""

    film_sentences: int = 140_000
    product_sentences: int = 60_000
    pieces: int = 12_000


def main() -> None:
    """Train and save the model."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.train_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the texts")
    parser.add_argument("--teacher", type=Path, required=True, help="fine-tuned multi-exit model")
    parser.add_argument("--teacher-exit", type=int, default=3, help="whose labels (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--share", type=float, default=1.0, help="of all texts, for a trial run")
    args = parser.parse_args()
    rng = random.Random(0)
    phrases = read_labelled(args.data / "sst2" / "train.tsv.zst")
    count = int(len(phrases.texts) * args.share)
    hard = F.one_hot(torch.tensor(phrases.labels[:count]), 2).float()
    texts = unlabelled(args.data / "unlabelled", Amounts(), share=args.share, rng=rng)
    soft = teacher_labels(args.teacher, texts, exit_=args.teacher_exit)
    everything = [*phrases.texts[:count], *texts]
    tokenizer = train_tokenizer(everything, 5_900)
    torch.manual_seed(0)
    student = MultiExitEncoder(
        ModelConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=192,
            num_hidden_layers=6,
            num_attention_heads=6,
            intermediate_size=768,
            max_position_embeddings=POSITIONS,
            exit_layers=(1, 2, 4, 6),
            labels=("negative", "positive"),
            hidden_dropout_prob=0.0,  # one pass over soft labels: nothing to overfit
            attention_probs_dropout_prob=0.0,
        )
    )
    settings = TrainSettings(batch_size=128, body_rate=1e-3, head_rate=1e-3)
    fit(student, encode(tokenizer, everything, POSITIONS), torch.cat([hard, soft]), settings)
    save_model(student.eval(), tokenizer, args.out)
    print(f"written to {args.out}; measure it with: offramp model predict FILE --model {args.out}")


def unlabelled(folder: Path, amounts: Amounts, *, share: float, rng: random.Random) -> list[str]:
    """Return sentences and longer pieces of film and product reviews."""
    films = list(read_texts(folder / "imdb_unsup.txt.zst"))
    products = list(read_texts(folder / "amazon_fdu_unlabel.tsv.zst"))
    found = []
    for reviews, most in ((films, amounts.film_sentences), (products, amounts.product_sentences)):
        low, high = SENTENCE_WORDS
        split = (s.strip() for review in reviews for s in _BREAK.split(review))
        sentences = sorted({s for s in split if low <= len(s.split()) <= high})
        rng.shuffle(sentences)
        found += sentences[: int(most * share)]
    reviews = [*films, *products]
    rng.shuffle(reviews)
    pieces = []
    for review in reviews:
        words = review.replace("<br />", " ").split()
        size = rng.randint(*PIECE_WORDS)
        start = rng.randrange(max(1, len(words) - size + 1))
        if len(words) >= PIECE_WORDS[0]:
            pieces.append(" ".join(words[start : start + size]))
    return found + pieces[: int(amounts.pieces * share)]


def teacher_labels(folder: Path, texts: list[str], *, exit_: int) -> Tensor:
    """Return the class probabilities of one of the teacher's exits, (texts, 2)."""
    teacher, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = encode(tokenizer, texts, POSITIONS)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = torch.zeros(len(ids), 2)
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        tokens, mask = pad([ids[i] for i in rows], teacher.config.pad_token_id)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits = teacher(tokens, mask, deepest=exit_)
        found[rows] = logits[exit_].float().softmax(-1)
        _say("labelled", start + len(rows), len(ids))
    return found


def fit(
    student: MultiExitEncoder, ids: list[list[int]], targets: Tensor, settings: TrainSettings
) -> None:
    """Train on the sum of all exits' cross-entropies with the targets, one pass."""
    rng = random.Random(settings.seed)
    plan = batches([len(row) for row in ids], settings.batch_size, rng)
    optimizer = optimizer_for(student, settings)
    warmup = max(1, int(len(plan) * settings.warmup_share))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warmup, (len(plan) - s) / max(1, len(plan) - warmup))
    )
    student.train()
    for step, rows in enumerate(plan, start=1):
        tokens, mask = pad([ids[i] for i in rows], student.config.pad_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            logits = student(tokens, mask)
        loss = torch.stack([F.cross_entropy(x.float(), targets[rows]) for x in logits]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), settings.clip_norm)
        optimizer.step()
        schedule.step()
        _say(f"loss {loss.item():.3f} step", step, len(plan))


def batches(lengths: list[int], size: int, rng: random.Random) -> list[list[int]]:
    """Return shuffled batches, each of texts of about equal length."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    out = []
    for start in range(0, len(order), size * SHUFFLED_BATCHES):
        near = sorted(order[start : start + size * SHUFFLED_BATCHES], key=lengths.__getitem__)
        out += [near[i : i + size] for i in range(0, len(near), size)]
    rng.shuffle(out)
    return out


_said_at = [0.0]


def _say(what: str, done: int, total: int) -> None:
    if done == total or time.monotonic() - _said_at[0] > 10:  # noqa: PLR2004  (seconds)
        _said_at[0] = time.monotonic()
        print(f"{what} {done:,} of {total:,}", flush=True)


if __name__ == "__main__":
    main()

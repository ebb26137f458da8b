"""Training: losses do what they say, every text is seen once, a stopped training continues."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from model.batches import LengthBatches, encode, predict
from model.checkpoint.folder import load_model
from model.errors import InvalidOptions, TrainingFailed
from model.training.fine_tune import (
    EncodedSet,
    Examples,
    add_equilibrium,
    balanced_weights,
    combined_loss,
    fine_tune,
)
from model.training.settings import Loss, TrainSettings
from model.training.train import soft_labels
from model.training.trainer import optimizer_for
from tests.support.tiny_model import tiny_config, tiny_network, tiny_tokenizer, write_tiny_model

FAST = TrainSettings(
    epochs=4, batch_size=8, body_rate=3e-3, head_rate=5e-3, bf16=False, evaluate_every=8
)


def toy(count=64):
    """Texts of ids in which one of two ids decides the class, and their labels."""
    rows = [[2, 5 + i % 2, *[8] * (i % 5), 3] for i in range(count)]
    return rows, [i % 2 for i in range(count)]


def toy_network():
    """A three-exit network of two classes without dropout noise worth mentioning."""
    return tiny_network(tiny_config(labels=("negative", "positive")))


def examples():
    """The toy texts as training examples."""
    rows, labels = toy()
    return Examples(rows, F.one_hot(torch.tensor(labels), 2).float())


@given(
    st.lists(st.integers(3, 40), min_size=1, max_size=300),
    st.integers(1, 17),
    st.integers(0, 3),
)
def test_batches_hold_every_text_once(lengths, batch_size, epoch):
    """An epoch has every text exactly once, in as many batches as it says, the same each time."""
    batches = LengthBatches(lengths, batch_size, seed=1)
    batches.set_epoch(epoch)
    drawn = list(batches)
    assert sorted(row for batch in drawn for row in batch) == list(range(len(lengths)))
    assert len(drawn) == len(batches)
    assert max(map(len, drawn)) <= batch_size
    assert list(batches) == drawn


def test_batches_differ_between_epochs_and_pad_little():
    """Another epoch has another order, and the texts of a batch are of about equal length."""
    lengths = [3 + i * 7 % 100 for i in range(1000)]
    batches = LengthBatches(lengths, 10, seed=0)
    first = list(batches)
    batches.set_epoch(1)
    assert list(batches) != first
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in first)
    assert padded < 1.1 * sum(lengths)


def logits_of(seed, exits=3):
    """Random logits of some exits for four texts and two classes, and their targets."""
    torch.manual_seed(seed)
    targets = F.one_hot(torch.tensor([0, 1, 1, 0]), 2).float()
    return [torch.randn(4, 2, requires_grad=True) for _ in range(exits)], targets


def test_sum_is_the_sum_of_cross_entropies():
    """The plain loss is the published one: the exits' cross-entropies added up."""
    logits, targets = logits_of(0)
    expected = sum(F.cross_entropy(x, targets.argmax(-1)) for x in logits)
    torch.testing.assert_close(combined_loss(logits, targets, Loss.SUM, layers=(1, 2, 4)), expected)


def test_weighted_counts_layers():
    """The weighted loss counts each exit by its layer, and as much in all as the sum does."""
    logits, targets = logits_of(0)
    each = [F.cross_entropy(x, targets).item() for x in logits]
    expected = 3 * (1 * each[0] + 2 * each[1] + 4 * each[2]) / 7
    got = combined_loss(logits, targets, Loss.WEIGHTED, layers=(1, 2, 4)).item()
    assert got == pytest.approx(expected)


def test_distilled_teaches_downwards_only():
    """Shallow exits learn from the last one, which itself learns from the targets alone."""
    logits, targets = logits_of(0)
    combined_loss(logits, targets, Loss.DISTILLED, layers=(1, 2, 4)).backward()
    alone = logits_of(0)[0][-1]
    F.cross_entropy(alone, targets).backward()
    torch.testing.assert_close(logits[-1].grad, alone.grad)
    taught = logits_of(0)[0][0]
    half = (targets + logits[-1].detach().softmax(-1)) / 2
    F.cross_entropy(taught, half).backward()
    torch.testing.assert_close(logits[0].grad, taught.grad)


def test_class_weights_balance():
    """Balanced weights make every class weigh the same, and are 1 where classes are equal."""
    weights = balanced_weights([0, 0, 0, 1], 2)
    assert weights.tolist() == pytest.approx([4 / 6, 2])
    assert balanced_weights([0, 1], 2).tolist() == [1, 1]
    logits, targets = logits_of(0, exits=1)
    wanted = F.cross_entropy(logits[0], targets.argmax(-1), weight=weights, reduction="sum") / 4
    got = combined_loss(logits, targets, Loss.SUM, layers=(1,), class_weights=weights)
    torch.testing.assert_close(got, wanted)


def test_equilibrium_gives_layers_a_mean_of_gradients():
    """With r exits left, a layer gets 1/r of its exit's gradient, (r-1)/r of the deeper ones'."""
    ids = torch.tensor([[2, 5, 8, 3]])
    mask = torch.ones_like(ids)

    def gradient(network, layer, exits):
        network.zero_grad()
        logits = network(ids, mask)
        sum(logits[i].sum() for i in exits).backward()
        return network.elasticbert.encoder.layer[layer - 1].output.dense.weight.grad.clone()

    plain = toy_network()  # exits after layers 1, 2 and 4
    balanced = toy_network()
    expected_logits = plain(ids, mask)
    hooks = add_equilibrium(balanced)
    for ours, theirs in zip(balanced(ids, mask), expected_logits, strict=True):
        torch.testing.assert_close(ours, theirs)
    of = [[gradient(plain, layer, [i]) for i in range(layer - 1, 3)] for layer in (1, 2)]
    second = of[1][0] / 2 + of[1][1] / 2
    torch.testing.assert_close(gradient(balanced, 2, [0, 1, 2]), second)
    first = of[0][0] / 3 + 2 / 3 * (of[0][1] / 2 + of[0][2] / 2)
    torch.testing.assert_close(gradient(balanced, 1, [0, 1, 2]), first)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(gradient(balanced, 1, [0, 1, 2]), sum(of[0]))


def test_heads_have_their_own_rate():
    """Poolers and classifiers train at the head rate; biases and LayerNorm do not decay."""
    network = toy_network()
    names = {id(p): name for name, p in network.named_parameters()}
    seen = {}
    for group in optimizer_for(network, TrainSettings()).param_groups:
        for parameter in group["params"]:
            seen[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    assert len(seen) == len(names)
    assert seen["classifiers.0.weight"] == (5e-4, 0.01)
    assert seen["elasticbert.encoder.pooler.3.dense.bias"] == (5e-4, 0.0)
    assert seen["elasticbert.encoder.layer.0.attention.self.query.weight"] == (2e-4, 0.01)
    assert seen["elasticbert.embeddings.LayerNorm.weight"] == (2e-4, 0.0)


@pytest.mark.parametrize(("loss", "bf16"), [(Loss.SUM, True), *((loss, False) for loss in Loss)])
def test_every_exit_learns(tmp_path, loss, bf16):
    """With every loss and precision, all exits learn a task that one word decides."""
    network = toy_network()
    settings = TrainSettings(epochs=8, batch_size=8, body_rate=3e-3, head_rate=5e-3, bf16=bf16)
    fine_tune(network, examples(), settings, tmp_path, loss=loss)
    rows, labels = toy()
    said = predict(network, rows).argmax(-1)
    assert (said == torch.tensor(labels)[:, None]).float().mean(0).tolist() == [1, 1, 1]
    assert not network.training


def test_soft_targets_are_learnt_as_they_are(tmp_path):
    """A teacher's uncertain answers are reproduced, not sharpened."""
    rows, labels = toy()
    sure = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    network = toy_network()
    settings = TrainSettings(epochs=30, batch_size=16, body_rate=2e-3, head_rate=5e-3, bf16=False)
    fine_tune(network, Examples(rows, sure[labels]), settings, tmp_path)
    got = predict(network, rows)[:2, -1]
    assert (got - sure).abs().max() < 0.1


def test_resumed_equals_uninterrupted(tmp_path):
    """A training that was stopped and resumed ends with the weights of one that was not."""
    whole = toy_network()
    fine_tune(whole, examples(), FAST, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 19:
            raise Stop

    stopped = toy_network()
    with pytest.raises(Stop):
        fine_tune(stopped, examples(), FAST, tmp_path / "cut", on_progress=stop)
    resumed = tiny_network(whole.config, seed=9)  # whatever it starts with is overwritten
    fine_tune(resumed, examples(), FAST, tmp_path / "cut", resume=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)


def test_early_stop_keeps_the_best(tmp_path):
    """Training ends when evaluations do not get better, and the best weights remain."""
    rows, labels = toy()
    dev = EncodedSet(rows, labels)
    settings = TrainSettings(
        epochs=40,
        batch_size=8,
        body_rate=3e-3,
        head_rate=5e-3,
        bf16=False,
        evaluate_every=8,
        patience=2,
    )
    network = toy_network()
    history = fine_tune(network, examples(), settings, tmp_path, dev=dev)
    scores = [entry["eval_score"] for entry in history if "eval_score" in entry]
    assert history[-1]["step"] < 40 * 8
    assert scores[-3] == max(scores)
    said = predict(network, rows).argmax(-1)
    accuracy = (said == torch.tensor(labels)[:, None]).float().mean().item()
    assert accuracy == pytest.approx(max(scores))


def test_last_step_is_evaluated(tmp_path):
    """The evaluation curve ends with the last step, wherever that falls."""
    rows, labels = toy(20)
    settings = TrainSettings(epochs=1, batch_size=8, evaluate_every=2, bf16=False)
    targets = F.one_hot(torch.tensor(labels), 2).float()
    history = fine_tune(
        toy_network(), Examples(rows, targets), settings, tmp_path, dev=EncodedSet(rows, labels)
    )
    assert [entry["step"] for entry in history if "eval_score" in entry] == [2, 3]


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    """A diverged training stops with the step and the advice instead of continuing."""
    rows, _ = toy()
    targets = torch.full((len(rows), 2), math.nan)
    with pytest.raises(TrainingFailed, match=r"loss is nan at step \d+: lower the rates"):
        fine_tune(toy_network(), Examples(rows, targets), FAST, tmp_path)


def test_patience_needs_an_evaluation(tmp_path):
    """Patience without anything to evaluate on is refused before training."""
    settings = TrainSettings(patience=2)
    with pytest.raises(InvalidOptions, match="patience is 2, but there is nothing to evaluate on"):
        fine_tune(toy_network(), examples(), settings, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"patience": 0}, "patience is 0"),
        ({"body_rate": 0.0}, "body_rate is 0.0, expected a number between 0 and 1"),
        ({"head_rate": 2.0}, "head_rate is 2.0"),
    ],
)
def test_settings_out_of_range(change, message):
    """A setting that cannot be trained with is named with its value and the limit."""
    with pytest.raises(InvalidOptions, match=message):
        TrainSettings(**change)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_teacher_answers_on_the_gpu(tmp_path):
    """Where there is one it is used, and says what the CPU says."""
    torch.cuda.reset_peak_memory_stats()
    folder, texts = write_tiny_model(tmp_path), ["the film was good", "bad"]
    names = tiny_config().labels
    taught = soft_labels(folder, texts, exits=None, labels=names, max_tokens=24, bf16=False)
    assert torch.cuda.max_memory_allocated() > 0
    network = load_model(folder)
    expected = predict(network, encode(tiny_tokenizer(), texts, 24))[:, -1]
    torch.testing.assert_close(taught, expected, atol=1e-3, rtol=0)

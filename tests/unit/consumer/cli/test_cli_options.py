"""Options that do nothing beside others are refused, and so is what a command does not use."""

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("worker -o json", "--output has no effect without --check"),
        ("worker --check --processes 2", "--processes has no effect with --check"),
        ("policy doctor --no-log -b a:1", "--bootstrap-servers has no effect with --no-log"),
        (
            "policy diff a.json b.json --redis-url redis://a",
            "--redis-url has no effect because both",
        ),
        ("policy set tolerance=0.1 cost_weight=1", "cost_weight has no effect together"),
        ("lab simulate holdout=0.1", "holdout has no effect here"),
        ("route add a --to b --replace --name c --before d", "--before has no effect with"),
        ("route add a --to b --replace", "--replace needs --name"),
        ("model predict a.tsv -m b -o json", "--output has no effect without --out"),
        ("train a --out b --from c --layers 3", "--layers has no effect with --from"),
        ("train a --out b --new tiny --new-heads", "--new-heads has no effect with --new"),
        ("train a --out b --new tiny --teacher-exits 1", "--teacher-exits has no effect without"),
        ("pretrain a --out b --from c --ffn 8", "--ffn has no effect with --from"),
    ],
)
def test_an_option_without_effect_is_wrong_usage(words: str, said: str) -> None:
    """It is exit code 2 and names the option, before anything is read or asked for."""
    result = CliRunner().invoke(app, words.split(), env={"COLUMNS": "250"})
    assert result.exit_code == 2, (result.output, result.exception)
    assert said in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "policy list --set batch.max_events=4",
            "--set batch.max_events: this command does not use",
        ),
        ("policy set alpha=2 --set policy.alpha=1", "`offramp policy set alpha=VALUE`"),
        ("policy diff a b --set policy.name=c", "--set policy.name: this command does not use it"),
        ("produce a --to b --set kafka.group=c", "--set kafka.group: this command does not use it"),
        ("dlq list --set redis.url=redis://a", "--set redis.url: this command does not use it"),
        ("config show --set batch.max_events=1 --set batch.max_events=2", "is given twice"),
        ("produce a --to b -b c:1 --set kafka.bootstrap_servers=d", "is given twice"),
        ("config show --set batch.max_event=1", "did you mean batch.max_events?"),
    ],
)
def test_a_setting_that_the_command_does_not_use_is_refused(words: str, said: str) -> None:
    """`--set` changes what the command does, or the command says which one would."""
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 1, (result.output, result.exception)
    assert said in str(result.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("policy list --limit x", "Invalid value for '--limit': 'x', expected a whole number"),
        ("policy list --limit -1", "Invalid value for '--limit': '-1', expected 1 or more"),
        ("pin a --exit 9999 -r b", "Invalid value for '--exit' / '-e': '9999', expected at most"),
        ("produce a --to b --rate nan", "'nan', expected"),
        ("lab simulate --violations x", "'x', expected a number"),
    ],
)
def test_a_wrong_number_is_told_in_our_words(words: str, said: str) -> None:
    """The option, its value and the limit, and no sentence of a library."""
    result = CliRunner().invoke(app, words.split(), env={"COLUMNS": "250"})
    assert result.exit_code == 2, (result.output, result.exception)
    assert said in result.output
    assert "Input should" not in result.output

"""`pip install offramp`, and nothing more: the commands of an operator, without torch."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from policy_state.algorithms.settings import PolicySettings
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.topics import create_topics

ROOT = Path(__file__).resolve().parents[3]

MOST_MB = 160
"""Of which numpy, on which exits are chosen, is 71, and the shipped model 36."""

TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
HEAVY = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "matplotlib")


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory):
    """A clean environment with the wheel and all that it asks for."""
    home = tmp_path_factory.mktemp("light")
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=120)
    installed = subprocess.run(
        [home / "bin" / "pip", "install", "-c", ROOT / "constraints.txt", wheel],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if "No matching distribution" in installed.stderr:
        pytest.skip("what offramp needs can be had from no package index")
    assert installed.returncode == 0, installed.stderr
    return home


@pytest.fixture
def offramp(light, kafka, redis_url, tmp_path):
    """A function that runs the environment's `offramp` and returns how it ended."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OFFRAMP_")}
    services = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka, "OFFRAMP_REDIS__URL": redis_url}

    def run(*arguments):
        return subprocess.run(
            [light / "bin" / "offramp", *arguments],
            env={**ours, **services, "COLUMNS": "200"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def site_packages(home: Path) -> Path:
    (found,) = home.glob("lib/python*/site-packages")
    return found


def test_it_is_small_and_has_no_torch(light):
    """All that lies there but pip and setuptools, offramp with its model included."""
    packages = site_packages(light)
    assert [name for name in HEAVY if (packages / name).exists()] == []
    sizes = {
        each.name: sum(path.stat().st_size for path in (each, *each.rglob("*")) if path.is_file())
        for each in packages.iterdir()
        if not each.name.startswith(TOOLS)
    }
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:12]
    assert sum(sizes.values()) <= MOST_MB * 1e6, (sum(sizes.values()) / 1e6, largest)


def test_an_operator_has_all_commands(offramp, kafka, redis_url, tmp_path):
    """What has been learnt, routes, topics, dead letters and texts to send: on real servers."""
    with RedisStore(redis_url) as store:
        store.open(PolicyMeta("default", "f1", (1, 3, 7, 12), PolicySettings()))
        learnt = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 50, exits=4)
        store.apply([PartitionDeltas("t1", 0, 0, 100, {"hotels": learnt})])
    names = [f"light{time.time_ns()}.{name}" for name in ("in", "dead")]
    create_topics(kafka, dict.fromkeys(names, 1))
    (tmp_path / "texts.tsv").write_text("text\nclean rooms\n")
    for command, said in (
        ("policy list", "hotels"),
        ("policy show hotels", "after 100 texts"),
        ("explain hotels", "hotels"),
        ("pin hotels --exit 1 --reason look --yes", ""),
        ("policy audit", "look"),
        ("policy export", "hotels"),
        (f"route add {names[0]} --domain fixed:hotels --to {names[0]}.out --create --yes", ""),
        ("route list", names[0]),
        (f"topics init {names[0]} --yes", ""),
        ("topics list", ""),
        (f"produce texts.tsv --to {names[0]}", ""),
        (f"dlq list --dead-letters {names[1]}", ""),
        ("config show", ""),
        ("policy doctor", ""),
    ):
        done = offramp(*command.split())
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert said in done.stdout, (command, done.stdout)


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("worker", "torch", "worker"),
        ("worker --processes 2", "torch", "worker"),
        ("worker --check", "torch", "worker"),
        ("dashboard", "starlette", "dashboard"),
        ("model check .", "torch", "worker"),
        ("train a.tsv --new mini --out m", "safetensors", "train"),
        ("produce a.tsv.zst --to x", "zstandard", "worker"),
    ],
)
def test_what_needs_more_says_which_extra(offramp, tmp_path, command, package, extra):
    """In one line, with the exit code of a wrong use."""
    (tmp_path / "a.tsv").write_text("text\tlabel\nfine\t1\npoor\t0\n")
    (tmp_path / "a.tsv.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    done = offramp(*command.split())
    words = "model check" if "model" in command else command.split()[0]
    said = f"error: offramp {words} needs {package}: pip install 'offramp[{extra}]'\n"
    assert (done.returncode, done.stderr) == (2, said)

"""Settings files that people have: every later version reads them."""

import tomllib
from pathlib import Path

import pytest

from consumer import __version__
from consumer.settings.load import Settings, load_settings
from consumer.settings.variables import setting_names

RELEASED = Path(__file__).with_name("released")
FILES = sorted(path.name for path in RELEASED.glob("*.toml"))


def read(name):
    """Return what a file says."""
    return tomllib.loads((RELEASED / name).read_text(encoding="utf-8"))


def names_in(data, before=""):
    """Yield the dotted names of what a file says."""
    for name, value in data.items():
        yield before + name
        if isinstance(value, dict):
            yield from names_in(value, f"{before}{name}.")


def kept(read_back, said):
    """Return what of a file came back, in its form."""
    if isinstance(said, dict):
        return {name: kept(read_back[name], value) for name, value in said.items()}
    if isinstance(said, list):
        return [kept(*pair) for pair in zip(read_back, said, strict=True)]
    return read_back


@pytest.mark.parametrize("name", FILES)
def test_a_settings_file_of_a_released_version_is_read_as_it_was(name):
    """No setting of it is unknown, refused or read as something else."""
    said = read(name)
    found = load_settings(RELEASED / name).model_dump(mode="json")
    assert kept(found, said) == said


def test_every_setting_is_in_a_file_of_this_version():
    """A setting that is new goes into a file of the version that will bring it."""
    files = [name for name in FILES if name.removesuffix(".toml").split("-")[0] == __version__]
    said = {each for name in files for each in names_in(read(name))}
    assert sorted(set(setting_names(Settings)) - said) == [], f"add them to released/{__version__}"

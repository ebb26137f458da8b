"""docs/configuration.md: its table has every setting as it is, its samples and names are right."""

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from consumer.settings.load import Settings
from consumer.settings.sections import PRETRAINED
from deploy.helm.derived import CHART, described

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z0-9_.]+)` \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)
SAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def fields(model=Settings, prefix=""):
    """Return the settings of a section and its sections, by their dotted names."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= fields(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def choices(kind):
    """Return the words that a setting may be."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(word for part in get_args(kind) for word in choices(part))


def default(field):
    """Return how the table shows a default, and what else there is to choose from."""
    value = field.default
    if field.default_factory is not None:
        return "the host's name"
    if value == PRETRAINED:
        return "the shipped model"
    if value is None and not choices(field.annotation):
        return "none"
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    first = "none" if value is None else f"`{value}`"
    others = ", ".join(f"`{word}`" for word in choices(field.annotation) if word != value)
    return f"{first}; {others}" if others else first


def test_every_setting_is_in_the_table_and_no_other():
    """A setting cannot come or go without the page."""
    assert [name for name, _, _ in ROWS] == list(fields())


@pytest.mark.parametrize(("name", "shown", "meaning"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_tells_default_and_meaning(name, shown, meaning):
    """The table says of each setting what the code says."""
    field = fields()[name]
    assert (shown, meaning) == (default(field), field.description)


@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_a_sample_can_be_used(sample):
    """What is copied from the page is accepted."""
    assert Settings(**tomllib.loads(sample))


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_settings_that_the_docs_name_exist(page):
    """A name such as `kafka.group` belongs to a setting, a section, or a value of the chart."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    known = {name for name, _, _ in described(values)} | {
        part for name in fields() for part in (name, name.rpartition(".")[0])
    }
    sections = "|".join(Settings.model_fields)
    named = re.findall(rf"`((?:{sections})\.[a-z0-9_.]+)(?=[` ])", page.read_text(encoding="utf-8"))
    assert {name for name in named if not name.endswith((".json", ".safetensors"))} <= known

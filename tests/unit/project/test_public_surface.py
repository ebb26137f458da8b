"""What users import: the package `offramp`, and nothing behind it."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import offramp

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "plugin.md").read_text(encoding="utf-8")
PROGRAMS = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("examples/*.py")}
PROGRAMS["plugin.md"] = "\n".join(
    re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)
NOTEBOOK = json.loads((DOCS / "concepts" / "exits.ipynb").read_text(encoding="utf-8"))
PROGRAMS["exits.ipynb"] = "\n".join(
    "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"
)
INTERNAL = {"consumer", "model", "policy_state"}


def test_importing_it_waits_for_no_torch():
    """A host that brings its own engine, or none yet, starts in no time; the engine is there."""
    heavy = "sorted({'torch', 'transformers', 'tokenizers', 'kafka'} & set(sys.modules))"
    code = f"import sys, offramp; print({heavy}); print(offramp.Engine.__name__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == ["[]", "Engine"], done.stderr


def test_every_name_of_it_is_there_and_no_other():
    """What is promised can be imported; what is not says so as any module does."""
    assert all(getattr(offramp, name) for name in offramp.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Worker'"):
        offramp.Worker  # noqa: B018


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_what_the_docs_show_imports_nothing_internal(name):
    """A reader who copies an example is broken by no change behind the public surface."""
    imported = {
        module.split(".")[0]
        for node in ast.walk(ast.parse(PROGRAMS[name]))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "offramp" in imported
    assert not imported & INTERNAL

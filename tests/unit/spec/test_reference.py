"""The reference is complete, current, and true of the shipped files."""

import json

import jsonschema
import pytest
from ruamel.yaml import YAML

from harness.spec.reference import (
    FILES,
    described,
    meaning_and_example,
    parts_of,
    render_reference,
    schema_of,
    schema_text,
)
from harness.spec.shipped import shipped_folder

ROOT = shipped_folder()
MODELS = [(model, True) for model, _, _ in FILES.values()] + [
    (part, False) for model, _, _ in FILES.values() for part in parts_of(model)
]
SHIPPED = [
    (kind, path) for kind, folder in (("playbook", "playbooks"), ("kernel", "kernels"))
    for path in sorted((ROOT / folder).glob("*.yaml"))
]  # fmt: skip


@pytest.mark.parametrize(("model", "top"), MODELS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_key_has_a_meaning_and_an_example_that_is_yaml(model, top):
    for name, field in described(model, top).items():
        meaning, example = meaning_and_example(field)
        assert meaning.endswith("."), f"{model.__name__}.{name} has no docstring"
        assert example.startswith("`"), f"{model.__name__}.{name} has no example"
        assert YAML(typ="safe").load(f"{name}: {example.strip('`')}")[name] is not None


def test_what_is_kept_is_what_the_models_give():
    """Else: python -m harness.spec.reference."""
    assert (ROOT / "docs/reference/files.md").read_text() == render_reference()
    for kind, (_, _, place) in FILES.items():
        assert (ROOT / place).read_text() == schema_text(kind)


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", ""))
def test_shipped_files_name_their_schema_and_fit_it(kind, path):
    text = path.read_text()
    first = text.splitlines()[0]
    assert first == f"# yaml-language-server: $schema=schemas/{kind}.json"
    schema = json.loads((path.parent / first.partition("=")[2]).read_text())
    jsonschema.validate(YAML(typ="safe").load(text), schema)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("playbook", {"version": 1, "kernals": ["a"]}),
        ("kernel", {"version": 1, "source": {"git": "x"}}),
        ("host", {"version": 1}),
    ],
)
def test_a_schema_refuses_what_the_model_refuses(kind, wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of(kind))

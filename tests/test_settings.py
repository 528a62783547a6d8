"""The sampling settings stand in one class, and all who take them have them all."""

import pytest
from conftest import FROZEN, params_with
from ruamel.yaml import YAML
from typer.main import get_command

from nomosaurus.commands.app import app
from nomosaurus.generation.request import Request
from nomosaurus.params import SampleSettings
from nomosaurus.tracking.logged_model import served_params

SETTINGS = SampleSettings.model_fields


def test_each_setting_says_what_it_means():
    assert all(field.description for field in SETTINGS.values())


def test_a_request_has_the_settings_and_their_defaults():
    assert dict(Request()) == {name: field.default for name, field in SETTINGS.items()}


def test_params_has_the_settings_in_their_order_after_the_count():
    section = YAML(typ="safe", pure=True).load(FROZEN / "params.yaml")["sample"]
    assert list(section) == ["count", *SETTINGS]
    assert params_with().sample.model_dump() == section


def test_generate_has_an_option_for_each_setting():
    options = {option.name: option for option in get_command(app).commands["generate"].params}
    for name in ("count", "as_json", "as_csv", "guard", "by_bits", "model"):
        options.pop(name)
    assert list(options) == [*SETTINGS]
    for name, field in SETTINGS.items():
        assert options[name].opts == ["--" + name.replace("_", "-")]
        negated = ["--no-" + name] if field.annotation is bool else []
        assert options[name].secondary_opts == negated
        assert field.description in options[name].help
        if name not in ("avoid", "prefix"):  # a file there, and any number
            assert options[name].default == field.default


@pytest.mark.filterwarnings("ignore")  # MLflow and what it needs warn of each other's ways
def test_the_served_model_takes_each_setting_but_patterns():
    count, prefixes, *served = served_params().params
    assert count.name == "n"
    assert (prefixes.name, prefixes.default) == ("prefixes", [])
    assert [spec.name for spec in served] == [n for n in SETTINGS if n not in ("match", "avoid")]
    types = {spec.name: spec.dtype.name for spec in served}
    assert (types["seed"], types["temperature"], types["new"]) == ("long", "double", "boolean")
    assert (types["prefix"], types["given"]) == ("string", "string")
    defaults = {spec.name: spec.default for spec in served}
    assert Request(**defaults | {"given": defaults["given"] or None}) == Request()

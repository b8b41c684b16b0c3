"""The facts beside every number."""

import json

import numpy as np
import pytest

from nextvit.machine import environment as facts
from nextvit.machine.environment import describe_environment, installed_versions, strip_folder


def test_environment_is_plain_json_and_names_machine_and_versions():
    facts = json.loads(json.dumps(describe_environment()))
    assert facts["cpu"] and facts["cores"] >= 1
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["time"].endswith("+00:00")


@pytest.mark.parametrize("package", ["timm", "torch", "onnxruntime", "openvino"])
def test_what_numbers_depend_on_is_named_where_it_is_installed(package: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(facts.metadata, "version", lambda name: "1.2.3")
    assert installed_versions()[package] == "1.2.3"


def test_records_hold_no_place_of_this_machine():
    assert strip_folder("/home/me/keys/key.pem") == "key.pem"
    assert strip_folder("--sign=/home/me/keys/key.pem") == "--sign=key.pem"
    assert strip_folder("runs/photos") == "runs/photos"
    assert strip_folder("--epochs=3") == "--epochs=3"

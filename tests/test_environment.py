"""The facts beside every number."""

import json

import numpy as np

from nextvit.environment import environment


def test_environment_is_plain_json_and_names_machine_and_versions():
    facts = json.loads(json.dumps(environment()))
    assert facts["cpu"] and facts["cores"] >= 1
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["time"].endswith("+00:00")

"""Several regions in the generated files: each node learns its region, and none does without `regions`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from mcp_transport.deployment import TARGETS, Deployment, generate
from mcp_transport.domain.policy import Policy

ONE = Deployment(policy=Policy(), name="shop", host="mcp.example.com", image="shop:1.4", store="dynamodb")
SEVERAL = replace(ONE, regions="eu-west-1,us-east-1")
VARIABLE = "MCP_REGION"


def parsed(text: str) -> list[Any]:
    return [*yaml.safe_load_all(text)]


@pytest.mark.parametrize("regions", ["", "eu-west-1"])
def test_a_deployment_in_one_region_does_not_name_it(regions: str) -> None:
    for target in TARGETS.keys() - {"aws-multiregion"}:
        for name, text in generate(target, replace(ONE, regions=regions)).items():
            assert VARIABLE not in text, name
            assert "DYNAMODB_REGIONS" not in text, name


def test_each_cluster_of_kubernetes_has_an_overlay() -> None:
    files = generate("kubernetes", replace(SEVERAL, kustomize=True))
    settings = next(each for each in parsed(files["base/config.yaml"]) if each["kind"] == "ConfigMap")
    assert settings["data"][VARIABLE] == "eu-west-1"
    for region in SEVERAL.several_regions:
        [overlay] = parsed(files[f"overlays/{region}/kustomization.yaml"])
        assert overlay["resources"] == ["../production"]
        [patch] = overlay["patches"]
        assert yaml.safe_load(patch["patch"]) == [{"op": "replace", "path": f"/data/{VARIABLE}", "value": region}]


def test_compose_asks_for_the_region_of_the_machine() -> None:
    files = generate("compose", SEVERAL)
    [compose] = parsed(files["compose.yaml"])
    assert compose["services"]["shop-1"]["environment"][VARIABLE] == "${MCP_REGION:?set MCP_REGION}"
    assert f"{VARIABLE}=\n" in files[".env.example"]


def test_systemd_names_the_first_region_which_a_machine_overrides() -> None:
    unit = generate("systemd", SEVERAL)["shop@.service"]
    assert unit.index(f"Environment={VARIABLE}=eu-west-1\n") < unit.index("EnvironmentFile=")


def test_tasks_and_functions_of_aws_know_their_region() -> None:
    """The tasks' rights in each region are checked on the synthesised stack."""
    stack = generate("aws-ecs", SEVERAL)["stack.ts"]
    assert f"{VARIABLE}: this.region," in stack
    assert 'const regions = ["eu-west-1", "us-east-1"];' in stack
    functions = generate("aws-lambda", SEVERAL)
    assert f"{VARIABLE}: ${{aws:region}}" in functions["serverless.yml"]
    assert f"{VARIABLE}: !Ref AWS::Region" in functions["template.yaml"]


def test_names_of_regions_may_be_others_than_those_of_aws() -> None:
    elsewhere = replace(ONE, regions="frankfurt,europe-west1")
    assert "overlays/frankfurt/kustomization.yaml" in generate("kubernetes", replace(elsewhere, kustomize=True))
    for target in ("aws-ecs", "aws-multiregion"):
        with pytest.raises(ValueError, match=r"^--regions: must be regions of AWS"):
            generate(target, elsewhere)

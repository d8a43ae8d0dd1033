"""Callers in the request context of a Lambda event: believed in the kind that is set, and in no other."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth.aws import AWSAuthenticator
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest

ISSUER = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example"
ARN = "arn:aws:iam::111122223333:user/ann"
CLAIMS = {"iss": ISSUER, "sub": "ann-1", "username": "ann", "scope": "read write"}

# As AWS documents them: HTTP APIs and function URLs (payload 2.0), REST APIs.
NOBODY_REST = {"identity": {"sourceIp": "192.0.2.7", "userArn": None, "caller": None}}
IAM = {"authorizer": {"iam": {"accessKey": "AKIA...", "accountId": "111122223333", "userArn": ARN, "userId": "AIDA"}}}
IAM_REST = {"identity": {"accountId": "111122223333", "caller": "AIDA", "userArn": ARN, "user": "AIDA"}}
JWT = {"authorizer": {"jwt": {"claims": CLAIMS, "scopes": ["read"]}}}
COGNITO_REST = {**NOBODY_REST, "authorizer": {"claims": CLAIMS, "scopes": None}}
LAMBDA = {"authorizer": {"lambda": {"principalId": "ann-1", "username": "ann", "scope": "read"}}}
LAMBDA_REST = {
    **NOBODY_REST,
    "authorizer": {"principalId": "ann-1", "username": "ann", "scope": "read", "integrationLatency": 3},
}
CONTEXTS = [IAM, IAM_REST, JWT, COGNITO_REST, LAMBDA, LAMBDA_REST]

OPTIONS: dict[str, dict[str, Any]] = {"iam": {}, "jwt": {"issuer": ISSUER}, "lambda": {}}


async def found(source: str, context: Any, **options: Any) -> Principal | None:
    built = AWSAuthenticator(source=source, **OPTIONS[source], **options)
    return await built.authenticate(HTTPRequest(method="POST", headers=Headers([]), gateway=context))


@pytest.mark.parametrize(
    ("source", "context", "binding", "name", "scopes"),
    [
        ("iam", IAM, f"aws:iam\n{ARN}", ARN, set()),
        ("iam", IAM_REST, f"aws:iam\n{ARN}", ARN, set()),
        ("jwt", JWT, f"{ISSUER}\nann-1", "ann", {"read", "write"}),
        ("jwt", COGNITO_REST, f"{ISSUER}\nann-1", "ann", {"read", "write"}),
        ("lambda", LAMBDA, "aws:lambda-authorizer\nann-1", "ann", {"read"}),
        ("lambda", LAMBDA_REST, "aws:lambda-authorizer\nann-1", "ann", {"read"}),
    ],
)
async def test_gateway_names_the_caller(source: str, context: Any, binding: str, name: str, scopes: set[str]) -> None:
    principal = await found(source, context)
    assert principal is not None
    assert (principal.binding, principal.name, principal.scopes) == (binding, name, scopes)
    for other in OPTIONS.keys() - {source}:
        assert await found(other, context) is None


@pytest.mark.parametrize("source", OPTIONS)
@pytest.mark.parametrize(
    "context",
    [
        *(None, {}, NOBODY_REST, {"authorizer": None}, {"authorizer": {"claims": None, "jwt": {}, "iam": None}}),
        *({"authorizer": {"lambda": []}}, {"authorizer": "ann"}, {"identity": {"userArn": ""}}, {"elb": {}}),
    ],
)
async def test_nobody_is_not_somebody(source: str, context: Any) -> None:
    assert await found(source, context) is None


@pytest.mark.parametrize(
    ("source", "context"),
    [
        ("jwt", {"authorizer": {"jwt": {"claims": {**CLAIMS, "iss": "https://other.example"}}}}),
        ("jwt", {"authorizer": {"jwt": {"claims": {"sub": "ann-1"}}}}),
        ("jwt", {"authorizer": {"jwt": {"claims": {"iss": ISSUER}}}}),
        ("jwt", {"authorizer": {"jwt": {"claims": {**CLAIMS, "sub": "ann\n1"}}}}),
        ("iam", {"authorizer": {"iam": {"accountId": "111122223333"}}}),
        ("lambda", {"authorizer": {"lambda": {"principalId": 7}}}),
        ("lambda", {"authorizer": {"lambda": {"user": "ann"}}}),
    ],
)
async def test_caller_without_what_identifies_it_is_refused(source: str, context: Any) -> None:
    with pytest.raises(InvalidCredentials):
        await found(source, context)


async def test_subject_may_be_another_claim() -> None:
    principal = await found("lambda", {"authorizer": {"lambda": {"email": "ann@example.com"}}}, subject="email")
    assert principal is not None and principal.subject == "ann@example.com"


async def test_caller_can_be_a_user_of_the_project(ann: User) -> None:
    principal = await found("jwt", JWT, user_claim="username")
    assert principal is not None and principal.user == ann
    unknown = {"authorizer": {"jwt": {"claims": {**CLAIMS, "username": "bob"}}}}
    with pytest.raises(InvalidCredentials, match="no active user"):
        await found("jwt", unknown, user_claim="username")


async def test_call_that_runs_again_has_no_scopes() -> None:
    built = AWSAuthenticator(source="iam")
    restored = await built.principal_without_request("aws:iam", ARN)
    assert restored is not None and (restored.binding, restored.scopes) == (f"aws:iam\n{ARN}", frozenset())
    assert await built.principal_without_request(ISSUER, ARN) is None


def test_authorization_server_is_that_of_the_tokens() -> None:
    assert AWSAuthenticator(source="jwt", issuer=ISSUER).authorization_servers == (ISSUER,)
    assert AWSAuthenticator(source="iam").authorization_servers == ()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"source": "cognito"}, "SOURCE must be one of iam, jwt, lambda, got 'cognito'"),
        ({"source": "jwt"}, "SOURCE 'jwt' needs ISSUER"),
        ({"source": "iam", "user_claim": "x", "user": "y"}, "mutually exclusive"),
    ],
)
def test_invalid_options_are_refused(options: Any, fault: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=fault):
        AWSAuthenticator(**options)

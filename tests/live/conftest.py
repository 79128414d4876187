"""One server of AWS and one of Kubernetes for all tests; no call leaves the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import aws, kube
from tests.live.world import World
from tests.recorded import recorded

ROOT = Path(__file__).parents[2]
WITHHELD = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The account, reached by an unmodified boto3 through the variables that every user has."""
    account, cluster = aws.Aws(), kube.Kube()
    stops = [aws.serve(account), kube.serve(cluster, tmp_path_factory.mktemp("kube"))]
    before = dict(os.environ)
    for name in WITHHELD:
        os.environ.pop(name, None)
    os.environ |= {
        "AWS_ENDPOINT_URL": account.url,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
    }
    preview, update = recorded("dev")
    yield World(account, cluster, preview, update)
    os.environ.clear()
    os.environ.update(before)
    for stop in stops:
        stop()


@pytest.fixture
def empty(servers: World) -> World:
    """The account with nothing in it."""
    servers.empty()
    return servers


@pytest.fixture
def deployed(servers: World) -> World:
    """The account with the dev stack in it, for a test to change."""
    return servers.deploy()


@pytest.fixture
def standing(servers: World) -> World:
    """The same for a test that leaves everything in it as it found it."""
    return servers.stand()

"""Places for a store: a folder, and a prefix of a bucket on a real server."""

from __future__ import annotations

import uuid

import pytest

from cherimoya_assets_tests.servers.s3 import s3_server


@pytest.fixture(scope="session")
def bucket():
    """The URL of a bucket; the server runs until the session ends."""
    with s3_server() as url:
        yield url


@pytest.fixture
def s3_place(bucket):
    """The URL of an empty prefix."""
    return f"{bucket}/{uuid.uuid4().hex}/store"


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """Where a store can be: a folder, then a URL."""
    return str(tmp_path / "store") if request.param == "disk" else request.getfixturevalue("s3_place")

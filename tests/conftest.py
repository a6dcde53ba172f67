"""Tests keep their compiled code to themselves, and divide even the smallest work among all threads."""

import pytest

from graphnet import lower


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def all_threads_work():
    """What functions with little work leave out, tests must see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "START", 0.0)
        patch.setattr(lower, "BARRIER", 0.0)
        yield

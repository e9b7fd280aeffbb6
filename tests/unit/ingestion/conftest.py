"""Fixtures of the tests of this folder."""

import pytest

from tests.ingested import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)

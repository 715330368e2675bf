"""The ladder's small task serves the studies too."""

import pytest

from rung.core.settings import Settings
from rung.models import Pool
from rung.store import Store
from rung.studies.study import Lab
from tests.ladder.conftest import task as task


@pytest.fixture
def lab(settings: Settings, pool: Pool, store: Store) -> Lab:
    return Lab(settings, pool, store)

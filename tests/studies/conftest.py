"""The ladder's small task serves the studies too."""

from tests.ladder.conftest import task as task

"""Files of every kind as texts with their source: one file a format.

``scan`` lists what there is (cheaply: names, sizes, times), ``read`` makes Documents of one source, ``watch`` tells
what changed. What cannot be read is a Problem, not the end of the work.
"""

from __future__ import annotations

from rung.documents.reading.bounded import read as read
from rung.documents.reading.bounded import read_all as read_all
from rung.documents.scan import scan as scan
from rung.documents.scan import under as under
from rung.documents.source import Reader as Reader
from rung.documents.source import Source as Source
from rung.documents.watch import Change as Change
from rung.documents.watch import watch as watch

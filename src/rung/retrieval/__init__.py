"""From documents to passages found: chunks, indexes behind one protocol, search, and answers with citations."""

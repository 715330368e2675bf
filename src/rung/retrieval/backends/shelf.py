"""Index backends of this room, by the first word of their string form."""

INDEXES = {
    "exact": "rung.retrieval.backends.exact:open_exact",
    "faiss": "rung.retrieval.backends.faiss:open_faiss",
    "annoy": "rung.retrieval.backends.annoy:open_annoy",
    "hnsw": "rung.retrieval.backends.hnsw:open_hnsw",
    "elasticsearch": "rung.retrieval.backends.elasticsearch:open_elasticsearch",
    "pgvector": "rung.retrieval.backends.pgvector:open_pgvector",
    "qdrant": "rung.retrieval.backends.qdrant:open_qdrant",
}

"""Index backends of this room, by the first word of their string form."""

INDEXES = {
    "exact": "rung.retrieval.index.exact:open_exact",
    "faiss": "rung.retrieval.index.faiss:open_faiss",
    "annoy": "rung.retrieval.index.annoy:open_annoy",
    "hnsw": "rung.retrieval.index.hnsw:open_hnsw",
    "elasticsearch": "rung.retrieval.index.elasticsearch:open_elasticsearch",
    "pgvector": "rung.retrieval.index.pgvector:open_pgvector",
    "qdrant": "rung.retrieval.index.qdrant:open_qdrant",
}

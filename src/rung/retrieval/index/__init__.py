"""Where vectors are kept and searched: one file a backend, one string to name it (``faiss:hnsw?m=32&ef=64``)."""

from rung.retrieval.index.spec import open_index

__all__ = ["open_index"]

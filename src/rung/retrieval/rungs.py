"""Rungs and programs of this room, by name."""

RUNGS = {
    "closed-book": "rung.retrieval.answerers:ClosedBook",
    "rag-dense": "rung.retrieval.answerers:RAG_DENSE",
    "rag-keyword": "rung.retrieval.answerers:RAG_KEYWORD",
    "rag-hybrid": "rung.retrieval.answerers:RAG_HYBRID",
    "rag-reranked": "rung.retrieval.answerers:RAG_RERANKED",
}

PROGRAMS = {
    "rag": "rung.retrieval.rag:RagProgram",
    "closed-book": "rung.retrieval.answerers:ClosedProgram",
}

"""Rungs and programs of this room, by name."""

RUNGS = {
    "closed-book": "rung.retrieval.answer.answerers:ClosedBook",
    "rag-dense": "rung.retrieval.answer.answerers:RAG_DENSE",
    "rag-keyword": "rung.retrieval.answer.answerers:RAG_KEYWORD",
    "rag-hybrid": "rung.retrieval.answer.answerers:RAG_HYBRID",
    "rag-reranked": "rung.retrieval.answer.answerers:RAG_RERANKED",
}

PROGRAMS = {
    "rag": "rung.retrieval.answer.rag:RagProgram",
    "closed-book": "rung.retrieval.answer.answerers:ClosedProgram",
}

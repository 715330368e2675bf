"""Texts as words, sentences and stems, in any script: what metrics, retrieval and rules count with."""

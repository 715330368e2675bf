"""Experiments with the models of ``rung.foundations``: each is a study (``rung.studies.study``), and a verb of ``rung lab``."""

LABS: dict[str, tuple[str, str]] = {
    "lm": ("language.ladder:LanguageLadder", "Train language models on one text: bits a byte, pair by pair."),
    "attention": ("language.inside:AttentionOf", "Show where the heads of the embedded model look."),
    "trace-forward": ("language.inside:TraceForward", "Follow a text through the embedded model, layer by layer."),
    "words": ("words.vectors:WordVectors", "Train vectors of words from scratch and measure them."),
}
"""Every experiment by name: where its class is in this room, and what it does, in the order of ``rung lab``."""

"""Experiments with the models of ``rung.foundations``: each is a study (``rung.studies.study``), and a verb of
``rung lab``."""

LABS: dict[str, tuple[str, str]] = {
    "lm": ("language.ladder:LanguageLadder", "Train language models on one text: bits a byte, pair by pair."),
    "seq2seq": ("language.translation:Seq2Seq", "Turn words round, and translate, with an encoder and a decoder."),
    "copy": ("language.toys:CopyTest", "See how far back each network remembers."),
    "heads": ("language.toys:Ablations", "Take heads and positions away from attention."),
    "gates": ("language.gates:Gates", "Show the gates of an LSTM or a GRU while it reads."),
    "attention": ("language.inside:AttentionOf", "Show where the heads of the embedded model look."),
    "trace-forward": ("language.inside:TraceForward", "Follow a text through the embedded model, layer by layer."),
    "sampling": ("language.draws:Decoding", "Prove greedy, beam search, top-k and top-p."),
    "gd": ("language.gradients:GradientCheck", "Check every gradient by finite differences; learn XOR by them."),
    "words": ("words.vectors:WordVectors", "Train vectors of words from scratch and measure them."),
    "network": ("network.parts:PartsOfNetwork", "Check every gradient of a network, learn XOR and a task's texts."),
    "vision": ("network.vision:SeePictures", "Name digits, find shapes, say which pixels they are."),
    "series": ("network.series:ForecastSeries", "Forecast a series, beside what naive methods say."),
    "gan": ("generative.gan:AdversarialDigits", "Make digits adversarially, and augment a classifier that has few."),
    "diffusion": ("generative.diffusion:DiffuseDigits", "Make digits and windows of a series out of noise."),
    "pixels": ("generative.pixels:CompareMakers", "Diffusion against a transformer on the same digits."),
    "melody": ("generative.melody:MakeMelodies", "Foresee the notes of tunes, and make new ones as MIDI."),
}
"""Every experiment by name: where its class is in this room, and what it does, in the order of ``rung lab``."""

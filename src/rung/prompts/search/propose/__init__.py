"""Where an optimizer's next prompts come from: edits of one prompt's words, parts, rendering and demonstrations.

Every source but ``reflection`` needs no clever model: it takes what it says from the task file, from train, or from a
short list of phrasings. None of them sees an answer to dev.
"""

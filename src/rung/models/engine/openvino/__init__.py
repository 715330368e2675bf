"""The embedded engine: a GGUF model (or a folder that holds its OpenVINO graph) on the CPU, computed by OpenVINO,
scheduled here.

openvino-genai reads the weights and the tokenizer; the graph runs over a paged cache (paged.py) under continuous
batching that computes shared prefixes once (schedule/). Decoding, beams, closed forms and label scoring are jobs
(decode.py).

Rules worth knowing:

- *Overflow.* A prompt that leaves no room in the context window fails that request: its Reply has finish "error" and a
  text that begins with "context overflow"; when all requests of a call overflow, ContextOverflow is raised. ``score``
  and ``stream`` raise it always (``score`` before it computes anything). ``max_tokens`` is cut to the room that is
  left.
- *Repeatable.* A request's logits do not depend on what runs beside it: in bf16 not by a bit, in f32 but for rounding
  where the processor's matrix kernels depend on the number of rows (log-probabilities differ by less than TIE). What is
  chosen (a token, a label) is the first of those within TIE of the best, so a tie is decided the same way. ``unstable``
  names the requests whose answers turn, if any.
- *Tools.* The model is told the tools in the system message and its reply is decoded under a schema that allows a call
  of one of them or an answer (template.py).
- *A last message with role assistant* is the beginning of the reply and is continued; it is not part of the reply's
  text.
"""

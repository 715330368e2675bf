"""Every metric: its name and where it is. What stands there is a Metric, or a function from (argument, resources) to one;
the argument is what follows the first colon of a spec such as ``judge:helpfulness``."""

METRICS: dict[str, str] = {
    "exact": "rung.metrics.exact:EXACT",
    "accuracy": "rung.metrics.exact:ACCURACY",
    "macro-f1": "rung.metrics.labels:MACRO_F1",
    "micro-f1": "rung.metrics.labels:MICRO_F1",
    "token-f1": "rung.metrics.overlap:TOKEN_F1",
    "squad-em": "rung.metrics.overlap:SQUAD_EM",
    "bleu": "rung.metrics.bleu:BLEU",
    "chrf": "rung.metrics.bleu:CHRF",
    "rouge-1": "rung.metrics.rouge:open_1",
    "rouge-2": "rung.metrics.rouge:open_2",
    "rouge-l": "rung.metrics.rouge:open_l",
    "rouge-lsum": "rung.metrics.rouge:open_lsum",
    "json-valid": "rung.metrics.structure:JSON_VALID",
    "schema-valid": "rung.metrics.structure:open_schema",
    "field-f1": "rung.metrics.structure:FIELD_F1",
    "semantic": "rung.metrics.semantic:open_semantic",
    "judge": "rung.metrics.judge:open_judge",
    "judge-pair": "rung.metrics.judge:open_pair",
    "number": "rung.metrics.number:NUMBER",
    "ifeval": "rung.metrics.instructions:open_instruction_level",
    "ifeval-prompt": "rung.metrics.instructions:open_prompt_level",
}

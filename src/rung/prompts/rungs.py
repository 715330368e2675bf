"""Rungs and programs of this room, by name."""

RUNGS = {
    "zero-shot": "rung.prompts.patterns.direct:ZERO_SHOT",
    "constraints": "rung.prompts.patterns.direct:CONSTRAINTS",
    "persona": "rung.prompts.patterns.direct:PERSONA",
    "template": "rung.prompts.patterns.written:TEMPLATE",
    "rendering": "rung.prompts.patterns.direct:RENDERING",
    "few-shot-random": "rung.prompts.patterns.fewshot:RANDOM",
    "few-shot-knn": "rung.prompts.patterns.fewshot:KNN",
    "few-shot-mmr": "rung.prompts.patterns.fewshot:MMR",
    "few-shot-coverage": "rung.prompts.patterns.fewshot:COVERAGE",
    "few-shot-bootstrap": "rung.prompts.search.bootstrap:Bootstrap",
    "chain-of-thought": "rung.prompts.patterns.reason:CHAIN_OF_THOUGHT",
    "self-consistency": "rung.prompts.patterns.reason:SELF_CONSISTENCY",
    "react": "rung.prompts.patterns.react:React",
    "question-refinement": "rung.prompts.patterns.refine:Refine",
    "cognitive-verifier": "rung.prompts.patterns.verify:Verify",
    "audience": "rung.prompts.patterns.audience:Audience",
    "combined": "rung.prompts.patterns.combine:Combined",
    "output-template": "rung.prompts.patterns.outline:OutputTemplate",
    "checked": "rung.prompts.patterns.checked:Checked",
    "optimized": "rung.prompts.search.optimize:Optimized",
}

PROGRAMS = {
    "prompt": "rung.prompts.program:PromptProgram",
    "react": "rung.prompts.patterns.react:ReactProgram",
    "outline": "rung.prompts.patterns.outline:OutlineProgram",
    "checked": "rung.prompts.patterns.checked:CheckedProgram",
    "refined": "rung.prompts.patterns.refine:RefinedProgram",
    "verified": "rung.prompts.patterns.verify:VerifiedProgram",
}

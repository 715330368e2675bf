"""Rungs and programs of this room, by name."""

RUNGS = {
    "zero-shot": "rung.prompts.direct:ZERO_SHOT",
    "constraints": "rung.prompts.direct:CONSTRAINTS",
    "persona": "rung.prompts.direct:PERSONA",
    "template": "rung.prompts.written:TEMPLATE",
    "rendering": "rung.prompts.direct:RENDERING",
    "few-shot-random": "rung.prompts.fewshot:RANDOM",
    "few-shot-knn": "rung.prompts.fewshot:KNN",
    "few-shot-mmr": "rung.prompts.fewshot:MMR",
    "few-shot-coverage": "rung.prompts.fewshot:COVERAGE",
    "few-shot-bootstrap": "rung.prompts.bootstrap:Bootstrap",
    "chain-of-thought": "rung.prompts.reason:CHAIN_OF_THOUGHT",
    "self-consistency": "rung.prompts.reason:SELF_CONSISTENCY",
    "react": "rung.prompts.react:React",
    "question-refinement": "rung.prompts.refine:Refine",
    "cognitive-verifier": "rung.prompts.verify:Verify",
    "audience": "rung.prompts.audience:Audience",
    "combined": "rung.prompts.combine:Combined",
    "output-template": "rung.prompts.outline:OutputTemplate",
    "checked": "rung.prompts.checked:Checked",
    "optimized": "rung.prompts.optimize:Optimized",
}

PROGRAMS = {
    "prompt": "rung.prompts.program:PromptProgram",
    "react": "rung.prompts.react:ReactProgram",
    "outline": "rung.prompts.outline:OutlineProgram",
    "checked": "rung.prompts.checked:CheckedProgram",
    "refined": "rung.prompts.refine:RefinedProgram",
    "verified": "rung.prompts.verify:VerifiedProgram",
}

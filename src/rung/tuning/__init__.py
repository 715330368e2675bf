"""Fine-tuning: rows to batches, a lean LoRA loop, pre-flight checks, and export back to the engine."""

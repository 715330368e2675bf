"""Any causal language model that Hugging Face transformers reads."""

"""Language models from counts to the transformer, one idea a file, in arrays and torch tensors: no torch.nn module for what a file
teaches, and a test beside each that it equals the one of torch.nn or transformers."""

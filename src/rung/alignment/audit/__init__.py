"""Whether what is rewarded is still what is wished for: before, during and after a run."""

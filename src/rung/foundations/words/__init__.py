"""Words as vectors, one method a file: prediction (word2vec), counts (GloVe), parts of words (fastText); two languages, one space."""

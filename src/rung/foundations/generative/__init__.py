"""Models that make things: pictures, series and melodies, each judged by what it was not trained by."""

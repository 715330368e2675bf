"""Procrustes: two spaces of vectors turned onto each other.

Vectors of two languages that were trained apart have like shapes and unlike axes: numbers stand to each other in French
as in English. Given some words and their translations, the turn that brings the ones nearest to the others has a closed
form (Schoenemann 1966; Xing et al. 2015): of the singular value decomposition ``X' Y = U S V'`` take ``U V'``. A turn
changes no distance, so what was near stays near, and words that were in no dictionary come to lie near their
translations too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rung.foundations.words import Floats


def rotation(source: Floats, target: Floats) -> Floats:
    """The orthogonal matrix of shape (source dimensions, target dimensions) that turns rows of ``source`` onto those of
    ``target``, both of shape (pairs, dimensions) and of unit length."""
    u, _, v = np.linalg.svd(source.T.astype(np.float64) @ target, full_matrices=False)
    return np.asarray(u @ v, np.float32)

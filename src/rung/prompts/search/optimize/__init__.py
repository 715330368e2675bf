"""Search for a better prompt: instructions, parts, rendering and demonstrations, under a hard budget of model calls.

A step asks several sources (propose/) for edits of the best prompt so far or of another on the front, and lets them
race: all answer a few dev examples, the better half goes on to twice as many, until one has answered all of dev
(successive halving; Karnin et al. 2013). One that is shown to be worse on the way is stopped at once
(metrics.sequential); one that was halved out although it was ahead comes back in a later step. The edit that
is left replaces the best prompt only when the paired test on dev says so. Which source is asked next is a bandit too
(UCB1; Auer et al. 2002). The front and the rewriting after failures are GEPA's (Agrawal et al. 2025, arXiv:2507.19457):
every prompt that nobody beats on some dev example stays a possible parent. Rewritings are shown mistakes on train,
never on dev.

Every choice follows from the seed and the answers, and answers come from the journal when they have been given before.
So a killed search goes on by being run again, and a search with a larger budget begins with all that a smaller one
found out.
"""

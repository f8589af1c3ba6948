"""Quality reports: a synthetic data set beside real data that its generator has seen, and has not.

reading  ──► rows ──► parts (training, hold-out, test) ──► fidelity, utility, copies, attack
                                                       ──► figures ──► report.html, report.json

Every figure stands beside the same figure for a hold-out of equal size: real rows in the place of
the synthetic ones. What cannot be said is listed, with the reason.
"""

"""Reference decoder of the aei picture format, written from SPEC.md alone.

Modules: container (section 2), entropy (section 3), model (section 4),
network and decode (section 5).
"""

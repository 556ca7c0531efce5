"""``esr annotate``: write copies of bags with emotions added."""

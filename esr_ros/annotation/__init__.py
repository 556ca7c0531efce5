"""`esr annotate`: bags in, bags with emotions out."""

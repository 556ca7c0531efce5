"""Data sets that the learner can train on."""

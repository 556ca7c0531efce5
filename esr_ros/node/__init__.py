"""The parts of the emotion node: subscriptions, publishers, diagnostics."""

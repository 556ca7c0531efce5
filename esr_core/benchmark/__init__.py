"""Speed of the networks, beside PyTorch and the published figures."""

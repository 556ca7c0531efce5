"""The training loop and its parts: configuration, losses, augmentation, resume state."""

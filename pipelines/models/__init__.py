"""Model versions as they are stored: weights without pickle, architecture, signature, card and manifest."""

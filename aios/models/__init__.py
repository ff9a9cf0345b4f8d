"""Model versions as signed folders: keys, the signed manifest, and the check of every byte against it."""

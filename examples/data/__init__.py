"""Three worked examples of data: from a source that is real, over a version, to what training reads; no network."""

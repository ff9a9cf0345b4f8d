"""Dataset versions: tables that hold them, how they are published, compared, fed, erased and traced."""

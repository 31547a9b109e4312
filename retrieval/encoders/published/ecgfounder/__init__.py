"""ECGFounder: vectors of 1024 dimensions and 150 named classes; no text tower."""

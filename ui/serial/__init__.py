"""A comparison with an earlier ECG for people: its words, and its beats as a picture."""

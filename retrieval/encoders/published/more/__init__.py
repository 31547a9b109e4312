"""MoRE: ECG and report in one space of 128 dimensions; its chest X-ray side stays closed."""

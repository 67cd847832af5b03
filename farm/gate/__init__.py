"""Whether a run may pass: its figures against those of a baseline, under limits that somebody set."""

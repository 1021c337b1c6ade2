"""Files for finance: documents, usage and journals of a period, written by the jobs process."""

"""Where a language's numbers and dates are written otherwise than Django does (FORMAT_MODULE_PATH)."""

"""One module a kind of picture; each returns inline SVG."""

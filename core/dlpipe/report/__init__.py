"""One HTML page, and a summary in Markdown, of what a run has done."""

"""What plugins component: the records, the hooks, and loading. Imports no torch."""

"""What plugins offer: the records, the hooks, and the loading of plugins. Does not import torch."""

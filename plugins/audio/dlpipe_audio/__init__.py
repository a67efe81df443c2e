"""Audio: spoken words as vectors."""

"""Keys, signatures and trust: knows bytes, nothing of firmware."""

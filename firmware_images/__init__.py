"""What a release is made of, and what lies in a board's flash."""

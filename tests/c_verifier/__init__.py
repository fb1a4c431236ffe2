"""The verifier in C, held against the golden bytes and against our own."""

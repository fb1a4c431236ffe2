"""Boards, a meter and a fixture that speak their real protocols; shipped with the product."""

"""Measures of how good a model is: its networks one by one, and its pictures by a judge that took no part in them."""

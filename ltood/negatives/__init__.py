"""Negative labels: words of WordNet or of a file, and which of them are far from all classes."""

from ltood.negatives.lists import WordList, read_list
from ltood.negatives.settings import NegativesConfig, Rules

__all__ = ["NegativesConfig", "Rules", "WordList", "read_list"]

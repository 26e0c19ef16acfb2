"""Text in LaTeX."""

_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def escaped(text: str) -> str:
    """Text whose special characters LaTeX prints as they are."""
    return "".join(_SPECIAL.get(character, character) for character in text)

"""Values and rules that every other part of ltood builds on."""

"""The public face: what `import ltood` gives."""

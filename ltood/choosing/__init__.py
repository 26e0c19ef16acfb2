"""Choosing a method from ID rows alone: classes held out, made outliers, ranks."""

"""Shaping of one activation vector at a time, in float64 and plain loops; slow on purpose."""


def number_kept(width, percent):
    """D - D percent / 100, rounded to the nearest and a half to the even number, at least 1."""
    dropped = width * percent / 100
    whole = int(dropped)
    rest = dropped - whole
    if rest > 0.5 or (rest == 0.5 and whole % 2):
        whole += 1
    return max(1, width - whole)


def kept(feature, percent):
    threshold = sorted(map(float, feature))[-number_kept(len(feature), percent)]
    return [float(f) if f >= threshold else 0.0 for f in feature]


def mass_ratio(feature, percent):
    positive = sorted(max(float(f), 0.0) for f in feature)
    largest = sum(positive[-number_kept(len(positive), percent) :])
    return sum(positive) / largest if largest else 1.0

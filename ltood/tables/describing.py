"""What a table is, for people who have not run it."""

from ltood.tables.spec import FLAGS, Table


def described(table: Table) -> str:
    """Rows, seeds, needs and published rows of a table, as text."""
    lines = [f"{table.name}, version {table.version}: {table.title}"]
    lines += [table.about] if table.about else []
    seeds = ", ".join(map(str, table.seeds))
    lines += [f"seeds: {seeds}", f"metrics: {', '.join(key for _, key in table.metrics)}"]
    lines += [f"{group}: {', '.join(sets)}" for group, sets in table.groups.items()]
    lines += ["", "rows:"]
    for row in table.rows:
        params = {**table.params, **row.params}
        flags = "".join(f" [{flag}]" for flag in row.flags)
        lines.append(f"  {row.name}: {params.get('recipe', '?')}, {row.title}{flags}")
    if table.needs:
        lines += ["", "needs:"]
        for need in table.needs:
            count = f", {need.files:,} files" if need.files else ""
            lines.append(f"  {need.path}{count}: {need.source}")
    if table.published:
        lines += ["", "published, percent:"]
    for item in table.published:
        values = ", ".join(f"{key} {value:.2f}" for key, value in item.values.items())
        flags = "".join(f" [{flag}]" for flag in item.flags)
        lines.append(f"  {item.name}{flags}: {values} ({item.source})")
    used = {flag for row in table.rows for flag in row.flags}
    used |= {flag for item in table.published for flag in item.flags}
    lines += [f"{flag}: {FLAGS[flag]}" for flag in FLAGS if flag in used]
    return "\n".join([*lines, *table.notes])

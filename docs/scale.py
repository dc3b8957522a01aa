#!/usr/bin/env python3
"""Draws docs/scale.svg from docs/scale.csv, which `cargo bench --bench scale` writes."""

import csv
import math
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT = 840, 330
# What the lines are called, and their colours.
LINES = {
    "idle": ("beside idle connections", "#2f81f7"),
    "origins": ("origins in turn, a dial each", "#d1483b"),
    "waiting": ("requests at once", "#2da44e"),
    "gathers": ("gathers of five at once", "#a371f7"),
}
STYLE = """svg:root { color: #1f2328; background: #ffffff; }
@media (prefers-color-scheme: dark) { svg:root { color: #e6edf3; background: #0d1117; } }
text { fill: currentColor; font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.name { font-weight: 600; font-size: 15px; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.grid { stroke: currentColor; stroke-opacity: 0.18; }
.line { fill: none; stroke-width: 2; }"""


def read():
    lines = {}
    with open(HERE / "scale.csv") as file:
        for row in csv.DictReader(file):
            if row["scenario"] in LINES:
                point = int(row["size"]), float(row["nanoseconds"]) / 1000, float(row["bytes"]) / 1024
                lines.setdefault(row["scenario"], []).append(point)
    return lines


def panel(left, title, lines, which):
    """One plot, both of its scales logarithmic, so that what does not grow is level."""
    top, bottom, right = 60, HEIGHT - 80, left + 330
    values = [point[which] for points in lines.values() for point in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    x = lambda size: left + (right - left) * (math.log10(size) - 1) / 3
    y = lambda value: bottom - (bottom - top) * (math.log10(value) - low) / (high - low)
    yield f'<text class="name" x="{left}" y="30">{title}</text>'
    for power in range(low, high + 1):
        at = y(10**power)
        yield f'<path class="grid" d="M{left} {at:.1f}H{right}"/>'
        yield f'<text class="end" x="{left - 6}" y="{at + 4:.1f}">{10**power:g}</text>'
    for size in (10, 100, 1000, 10000):
        yield f'<text class="middle" x="{x(size):.1f}" y="{bottom + 20}">{size:,}</text>'
    for scenario, points in lines.items():
        _, colour = LINES[scenario]
        path = "L".join(f"{x(p[0]):.1f} {y(p[which]):.1f}" for p in points)
        yield f'<path class="line" stroke="{colour}" d="M{path}"/>'
        for p in points:
            yield f'<circle cx="{x(p[0]):.1f}" cy="{y(p[which]):.1f}" r="3.5" fill="{colour}"/>'


def main():
    lines = read()
    held = {name: points for name, points in lines.items() if any(p[2] for p in points)}
    # Of ten, what one of them takes is lost in what all processes take.
    held = {name: [p for p in points if p[0] > 10] for name, points in held.items()}
    title = "Time and memory of one request as the number of others grows"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'style="max-width: 100%; height: auto" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>\n{STYLE}\n</style>",
        *panel(50, "µs each", lines, 1),
        *panel(470, "KiB each", held, 2),
    ]
    for place, (name, colour) in enumerate(LINES.values()):
        left = 40 + 205 * place
        parts.append(f'<circle cx="{left}" cy="{HEIGHT - 24}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{left + 10}" y="{HEIGHT - 19}">{name}</text>')
    parts.append("</svg>")
    (HERE / "scale.svg").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

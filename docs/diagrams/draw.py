#!/usr/bin/env python3
"""Draws request.svg and connection.svg, beside this file, from what is written below.

    docs/diagrams/draw.py           # writes them
    docs/diagrams/draw.py --check   # fails if they are not what it would write

Python's own library is all it needs. Lines and letters are drawn in the page's own colour, so that
a picture inside a page (rustdoc) follows its theme; one that stands alone follows the reader's.
"""

import html
import sys
from pathlib import Path

HERE = Path(__file__).parent

# `:root` is the picture only where it stands alone. No blank line may be in the result: it would end
# the picture in the middle of a page of Markdown.
STYLE = """\
<style>
svg:root { color: #1f2328; background: #ffffff; }
@media (prefers-color-scheme: dark) { svg:root { color: #e6edf3; background: #0d1117; } }
.tu text { fill: currentColor; font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.tu .name { font-weight: 600; font-size: 15px; }
.tu .kind { font: 12.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.tu .note { font-size: 12.5px; opacity: 0.75; }
.tu .middle { text-anchor: middle; }
.tu .end { text-anchor: end; }
.tu .box { fill: currentColor; fill-opacity: 0.05; stroke: currentColor; stroke-width: 1.5; }
.tu .line { fill: none; stroke: currentColor; stroke-width: 1.5; }
.tu .fail { fill: none; stroke: #d1483b; stroke-width: 1.5; }
.tu .held { fill: #2f81f7; fill-opacity: 0.75; }
.tu .arrow { fill: currentColor; }
.tu .fail-arrow { fill: #d1483b; }
</style>"""


class Picture:
    def __init__(self, name, title, width, height):
        self.path = HERE / f"{name}.svg"
        # The ids of two pictures in one page must not meet.
        self.name = name
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="tu" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" style="max-width: 100%; height: auto" role="img" '
            f'aria-label="{html.escape(title)}">',
            f"<title>{html.escape(title)}</title>",
            STYLE,
            "<defs>",
            *(
                f'<marker id="{name}-{kind}" viewBox="0 0 10 10" refX="9" refY="5" '
                f'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
                f'<path class="{kind}" d="M0 0L10 5L0 10z"></path></marker>'
                for kind in ("arrow", "fail-arrow")
            ),
            "</defs>",
        ]

    def text(self, x, y, text, kind=""):
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{html.escape(text)}</text>')

    def box(self, x, y, width, height, name, *notes):
        self.parts.append(
            f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"></rect>'
        )
        lines = [(name, "name middle"), *((note, "note middle") for note in notes)]
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for n, (line, kind) in enumerate(lines):
            self.text(x + width / 2, top + 18 * n, line, kind)

    def line(self, path, fail=False):
        kind, head = ("fail", "fail-arrow") if fail else ("line", "arrow")
        self.parts.append(
            f'<path class="{kind}" d="{path}" marker-end="url(#{self.name}-{head})"></path>'
        )

    def bar(self, x, top, bottom, label):
        """How long something is held, with its name along it."""
        self.parts.append(
            f'<rect class="held" x="{x}" y="{top}" width="6" height="{bottom - top}" rx="3"></rect>'
        )
        middle = (top + bottom) / 2
        self.parts.append(
            f'<text class="note middle" x="{x - 8}" y="{middle}" '
            f'transform="rotate(-90 {x - 8} {middle})">{html.escape(label)}</text>'
        )

    def svg(self):
        return "\n".join([*self.parts, "</svg>"]) + "\n"


def request():
    """A request's way, with the kinds of error that each part of it may end in."""
    steps = [
        ("admit", "UpstreamLayer: a place among", "max_in_flight, or a bounded wait",
         ["503 with Retry-After, or gRPC 8"]),
        ("pool", "an idle connection, a free HTTP/2", "stream, or a place in the queue",
         ["PoolTimeout · QueueFull · Draining"]),
        ("connect", "name, addresses in turn, TLS;", "only where no connection is free",
         ["ConnectTimeout · Dns · TargetDenied",
          "ConnectRefused · Unreachable",
          "Connect · OutOfSockets",
          "Tls · TlsCertificate · TlsAlert", "Closed, in the handshake"]),
        ("write", "head and body go out, as fast as", "the upstream takes them",
         ["WriteTimeout · RequestBody", "Closed"]),
        ("read: the head", "your code has its response", "as soon as this is here",
         ["ReadTimeout · Closed · Reset", "Protocol · HeadTooLarge"]),
        ("read: the body", "piece by piece, as it is asked for,", "cut where Truncate says so",
         ["ReadTimeout · BodyIncomplete"]),
    ]
    left, width, height, gap, top = 130, 280, 76, 30, 16
    picture = Picture("request", "How a request travels, and what each phase may fail with",
                      820, top + len(steps) * (height + gap) + 34)
    ys = [top + n * (height + gap) for n in range(len(steps))]
    centre, right = left + width / 2, left + width
    for y, (name, *notes, errors) in zip(ys, steps):
        picture.box(left, y, width, height, name, *notes)
        middle = y + height / 2
        picture.line(f"M{right} {middle}H{right + 52}", fail=True)
        for n, line in enumerate(errors):
            picture.text(right + 62, middle + 5 + 18 * (n - (len(errors) - 1) / 2), line, "kind")
    for y in ys[:-1]:
        picture.line(f"M{centre} {y + height}V{y + height + gap - 1}")
    picture.text(centre + 12, ys[1] - gap / 2 + 4, "your handler sends", "note")
    # Past `connect`, when there is a connection already.
    pool, write = ys[1] + height - 16, ys[3] + 16
    picture.line(f"M{left} {pool}H{left - 18}V{write}H{left - 1}")
    last = ys[-1] + height
    picture.line(f"M{centre} {last}V{last + gap - 1}")
    picture.text(centre, last + gap + 18,
                 "the connection goes back to the pool, or is closed", "middle")
    picture.bar(34, ys[0], last, "the place, held to the body's end")
    picture.bar(84, ys[3], last, "the connection")
    picture.bar(792, ys[1], last, "TotalTimeout, if there is one; Draining, at a drain's deadline")
    return picture


def connection():
    """A connection's states, as `Stats` counts them, and the causes for which it closes."""
    picture = Picture("connection", "The life of a connection, and why it is closed", 820, 408)
    picture.box(20, 150, 150, 64, "connecting", "name, TCP, TLS")
    picture.box(330, 30, 170, 64, "in use", "by one exchange or more")
    picture.box(330, 270, 170, 64, "idle", "kept for the next")
    picture.box(640, 30, 160, 64, "upgraded", "a WebSocket, a tunnel")
    picture.box(640, 270, 130, 64, "closing", "still counted")

    picture.text(20, 108, "a slot is free", "note")
    picture.line("M60 116V149")
    picture.line("M130 150V62H329")
    picture.text(140, 52, "for whoever waits longest", "note")
    picture.line("M130 214V302H329")
    picture.text(140, 322, "who asked has gone", "note")
    picture.line("M60 214V256", fail=True)
    picture.text(20, 274, "the dial fails", "note")

    picture.line("M390 94V269")
    picture.text(380, 176, "its body has ended, or its", "note end")
    picture.text(380, 194, "small rest was read on", "note end")
    picture.line("M450 270V95")
    picture.text(460, 185, "reused", "note")
    picture.line("M500 50H639")
    picture.text(570, 42, "101", "note middle")

    picture.line("M500 78H560V286H639")
    for n, causes in enumerate(("unfinished", "failed · remote", "aged · evicted", "surplus · drained")):
        picture.text(572, 150 + 19 * n, causes, "kind")
    picture.line("M788 94V374")
    picture.text(778, 116, "upgraded", "kind end")
    picture.line("M500 318H639")
    for n, causes in enumerate(("expired · aged · evicted", "surplus · drained", "remote · failed")):
        picture.text(570, 354 + 19 * n, causes, "kind middle")
    picture.line("M705 334V374")
    picture.text(800, 394, "gone: the slot is free", "note end")
    return picture


def main():
    check = "--check" in sys.argv[1:]
    for picture in (request(), connection()):
        svg = picture.svg()
        if not check:
            picture.path.write_text(svg, encoding="utf-8")
        elif picture.path.read_text(encoding="utf-8") != svg:
            sys.exit(f"{picture.path} is not what {Path(__file__).name} draws: run it")


if __name__ == "__main__":
    main()

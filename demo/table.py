"""All measurements in one table."""

from measure import TOLERANCE
from rich import box
from rich.table import Table


def table(measurements, title):
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in ("operator", "rule", "s", "o"):
        result.add_column(name, no_wrap=True)
    for name in ("heads", "d", "n", "error", "ms", "GFLOP/s", "|logit|", "|output|"):
        result.add_column(name, justify="right", no_wrap=True)
    previous = None
    for m in measurements:
        if previous not in (None, m.rule):
            result.add_section()
        first = m.rule != previous
        previous = m.rule
        result.add_row(
            m.rule.operator if first else "",
            m.rule.name if first else "",
            m.rule.s if first else "",
            m.rule.o if first else "",
            str(m.heads),
            str(m.d),
            str(m.n),
            f"[bold red]{m.error:.1e}[/]" if m.wrong else f"{m.error:.1e}",
            f"{1e3 * m.seconds:.2f}",
            f"{m.gflops:.1f}",
            f"{m.logit:.3f}",
            f"{m.output:.4f}",
        )
    result.caption = (
        f"error: largest |kernel - float64|, relative to the largest |output|; at most {TOLERANCE:.0e}. ms: best of several "
        "calls.\n|logit|, |output|: means; watch the logits, not just the outputs."
    )
    result.caption_justify = "left"
    return result

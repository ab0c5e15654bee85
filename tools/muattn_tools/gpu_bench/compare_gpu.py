"""Times the CUDA backend and PyTorch on bench/shapes.json; ./dev bench --gpu runs this in .venv-peers."""

from __future__ import annotations

import json
import shlex
import sys

from muattn_tools.gpu_bench.device import checked
from muattn_tools.provenance import file_stem, provenance


def main() -> int:
    arguments = checked()
    try:
        import torch
    except ImportError:
        print("bench --gpu: PyTorch is missing here; ./dev bench --gpu installs it into .venv-peers", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print(f"bench --gpu: PyTorch {torch.__version__} finds no CUDA device", file=sys.stderr)
        return 2

    import muattn
    from muattn_tools.gpu_bench.gpu_table import table
    from muattn_tools.gpu_bench.timing import measure
    from muattn_tools.show_markdown import show_markdown

    rows = measure(arguments.filter, arguments.seconds)
    results = {
        **provenance("cuda", "./dev bench --gpu " + shlex.join(sys.argv[1:])),
        "device": torch.cuda.get_device_name(), "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "versions": {"muattn": muattn.__version__, "torch": torch.__version__, "cuda": torch.version.cuda}, "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results)}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    path.with_suffix(".md").write_text(text)
    show_markdown(text)
    print(f"{path}, .md")
    wrong = [row["name"] for row in rows if "muattn" in row["wrong"]]
    if wrong:
        print(f"bench --gpu: muattn is wrong for {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

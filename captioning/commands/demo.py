"""captioning demo: show a page on this machine that captions dropped photos."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from captioning.commands import natural, parse_arguments, positive
from captioning.commands._bundles import add_model, add_trust, load
from captioning.errors import InputError
from captioning.model import shipped

ADDRESS = "127.0.0.1"


def main(arguments: Sequence[str]) -> int:
    """Run the command until it is stopped."""
    parser = argparse.ArgumentParser(
        prog="captioning demo",
        description="Show a page on which one drops a photo and gets its caption, the alternatives and, with an "
        "attentive decoder, the attention maps. Only this machine can open it. Needs pip install 'captioning[demo]'.",
        epilog="examples: captioning demo; captioning demo --model runs/best",
    )
    add_model(parser, "the captioner", default=shipped.DEFAULT)
    parser.add_argument("--num-best", type=positive, default=5, help="captions of a photo (default 5)")
    parser.add_argument("--port", type=natural, default=7860, help="of the page (default 7860)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default cpu)")
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    if not 0 < options.port < 2**16:
        raise InputError(f"--port {options.port} must be in 1..65535")

    # Gradio asks a server for its newest version, and its pages ask one for fonts, unless this is turned off.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from captioning.reports.demo_page import demo_page

    model = load(options.model, options.device, options.trust).pack()
    page = demo_page(model, model.with_options(num_best=options.num_best), "captioning demo")

    import gradio

    print(f"captioning demo: http://{ADDRESS}:{options.port} (Ctrl-C ends it)", flush=True)
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        page.launch(
            server_name=ADDRESS, server_port=options.port, share=False, ssr_mode=False, quiet=True,
            max_file_size="64mb", theme=theme, footer_links=[],
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"--port {options.port}: {error}; name another port") from error
    return 0

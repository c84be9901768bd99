"""The other end of child.ts: requests are lines of JSON on standard input, answers go to file descriptor 3."""

import json
import os
import signal
import sys
import traceback


def serve(answer):
    """Answers requests until there are no more. What `answer` raises becomes the answer."""
    # Ctrl-C ends this process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with os.fdopen(3, "w") as answers:
        for line in sys.stdin:
            try:
                reply = {"value": answer(json.loads(line))}
            except Exception:
                reply = {"error": traceback.format_exc()}
            print(json.dumps(reply), file=answers, flush=True)

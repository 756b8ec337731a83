"""A process that speaks serving_protocol without a model: it says the words of the last turn, one a line.

Words with a meaning: "die" ends the process, "slow" waits before every word until the task is cancelled.
"""

import json
import os
import sys
import threading
import time

cancelled: set[int] = set()
tasks: list[dict] = []
there = threading.Condition()


def say(**said: object) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def read() -> None:
    for line in sys.stdin:
        said = json.loads(line)
        with there:
            if "cancel" in said:
                cancelled.add(said["cancel"])
            else:
                tasks.append(said)
            there.notify()
    os._exit(0)


load = json.loads(sys.stdin.readline())
if "broken" in load["base"]:
    say(type="failed", code="weights_broken", text="They are broken.", params={"path": "/x", "reason": "no"})
    sys.exit(1)
say(type="ready", context=100)
threading.Thread(target=read, daemon=True).start()
while True:
    with there:
        there.wait_for(lambda: tasks)
        task = tasks.pop(0)
    words = task["turns"][-1]["content"].split()
    if "die" in words:
        os.kill(os.getpid(), 9)
    if "refuse" in words:
        say(type="refused", id=task["id"], code="context_length_exceeded", text="Too long.", param="messages")
        continue
    said = 0
    for word in [str(os.getpid()), *words]:
        if task["id"] in cancelled:
            break
        say(type="delta", id=task["id"], text=word + " ")
        said += 1
        if "slow" in words:
            time.sleep(0.05)
    say(type="done", id=task["id"], finish_reason="stop", prompt_tokens=len(words), completion_tokens=said)
